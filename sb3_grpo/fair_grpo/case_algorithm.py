"""What makes SB3's PPO learn from comparing answers to the same case. ``collect_rollouts()`` and ``train()`` are PPO's own."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo.common.case_infos import read_case_infos
from sb3_grpo.common.checks import checked_names, is_number
from sb3_grpo.common.data_parallel import n_processes
from sb3_grpo.common.decision_vec_env import DecisionInfos
from sb3_grpo.common.episode_features import flat_observations
from sb3_grpo.common.fast_update import FastUpdateMixin
from sb3_grpo.common.frozen_policy import FrozenPolicy, freeze, thaw
from sb3_grpo.common.group_infos import check_observation, check_rewards, env_attribute
from sb3_grpo.common.lean_networks import LeanPolicy, lean_policy
from sb3_grpo.common.policy_penalty import divergence_from, penalised
from sb3_grpo.common.step_locals import StepLocalsMixin
from sb3_grpo.fair_grpo.advantages import ADVANTAGES, group_relative_advantages
from sb3_grpo.fair_grpo.case_buffer import CaseBufferMixin, CaseRolloutBuffer, case_buffer
from sb3_grpo.fair_grpo.case_env import case_vec_env, checked, names_of
from sb3_grpo.fair_grpo.case_history import CaseHistory, grow, initial_history, update_history
from sb3_grpo.fair_grpo.case_logging import case_log
from sb3_grpo.fair_grpo.latent_cases import LatentCases
from sb3_grpo.fair_grpo.lean_cases import CasePolicy
from sb3_grpo.fair_grpo.weightings import Cases, Weighting, WeightingState, make_weighting


class CaseAlgorithmMixin(FastUpdateMixin, StepLocalsMixin):
    """
    Goes before PPO in the list of base classes. Once per rollout: advantages of each answer among those to the same case,
    weights of the cases. Then PPO's ``train()`` consumes the weighted advantages.

    The constructor of the subclass calls the parent's with ``_init_setup_model=False``, then :meth:`_init_cases`, then
    ``_setup_model()``.
    """

    rollout_buffer: CaseBufferMixin
    batch_size: int

    def _init_cases(
        self,
        answers: int | None,
        n_cases: int,
        advantage: str,
        weighting: str | Weighting | Callable[[Cases, CaseHistory], Any] | None,
        weighting_kwargs: dict[str, Any] | None,
        smoothing: float,
        reference_kl: float,
        reference: BaseAlgorithm | None,
        group_names: Sequence[str] | None,
        source_names: Sequence[str] | None,
        latent_groups: LatentCases | None,
        fast: bool,
    ) -> None:
        self.answers = answers
        self.n_cases = n_cases
        self.advantage = advantage
        self.weighting = weighting
        self.weighting_kwargs = weighting_kwargs
        self.smoothing = smoothing
        self.reference_kl = reference_kl
        self.reference_policy: FrozenPolicy | None = None if reference is None else freeze(reference.policy)
        self.group_names = None if group_names is None else checked_names(group_names)
        self.source_names = None if source_names is None else checked_names(source_names, "source_names")
        self.latent_groups = copy.deepcopy(latent_groups)  # it changes in training: two models must not share it
        self.fast = fast
        #: What is known of sources and groups; None before the first rollout
        self.case_history: CaseHistory | None = None
        self.weighting_state: WeightingState = {}

    # -- Setup -------------------------------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        restored = hasattr(self, "lr_schedule")  # load() restores attributes before it calls this method
        self._check_arguments()
        if self.env is not None:
            self.answers = self._adopt(checked(self.env, self.answers))
        self._weighting = make_weighting(self.weighting, self.weighting_kwargs)
        if not restored:
            self.policy_kwargs = without_critic(self.policy_class, self.policy_kwargs)
        super()._setup_model()
        self.rollout_buffer = case_buffer(self.rollout_buffer, self.answers or 1)

    def _check_arguments(self) -> None:
        """
        :raises ValueError: If an argument is not what it must be
        """
        if self.advantage not in ADVANTAGES:
            raise ValueError(f"`advantage` must be one of {ADVANTAGES}, got {self.advantage!r}")
        if not (is_number(self.smoothing) and 0 < self.smoothing <= 1):
            raise ValueError(f"`smoothing` must be in (0, 1], got {self.smoothing!r}")
        if not (is_number(self.reference_kl) and self.reference_kl >= 0):
            raise ValueError(f"`reference_kl` must be a finite number, at least 0, got {self.reference_kl!r}")
        if not (self.latent_groups is None or isinstance(self.latent_groups, LatentCases)):
            raise ValueError(f"`latent_groups` must be None or LatentCases(...), got {self.latent_groups!r}")
        if not isinstance(self.fast, bool):
            raise ValueError(f"`fast` must be True or False, got {self.fast!r}")
        if self.env is None and not hasattr(self, "observation_space"):  # load() without environment knows the space
            raise ValueError("`env` must be an environment, a VecEnv or the id of a registered environment, got None")

    def _adopt(self, env: VecEnv) -> int:
        """
        :param env: New environments
        :return: Number of answers to each case
        :raises ValueError: If they name other groups or sources, or the numbers do not fit
        """
        told: Any = env_attribute(env, "answers") or self.answers
        answers, batch_size = int(told), self.batch_size
        if batch_size % answers:
            raise ValueError(f"`batch_size` must be a multiple of `answers`={answers}, as cases stay whole, got {batch_size}")
        trained = self.case_history is not None
        self.group_names = names_of(env, "group_names", self.group_names, trained)
        self.source_names = names_of(env, "source_names", self.source_names, trained)
        return answers

    def set_env(self, env: GymEnv | VectorEnv | str, force_reset: bool = True) -> None:
        """
        See the parent.

        :raises ValueError: If the environment names other groups or sources than this model's, has other numbers of answers or
            cases, or no such environment can be made of it
        """
        assert self.answers is not None
        cases = case_vec_env(env, self.answers, self.n_envs // self.answers)
        if cases.num_envs != self.n_envs:
            raise ValueError(f"env: got {cases.num_envs} environments, expected {self.n_envs}, as the model had")
        self._adopt(cases)
        super().set_env(cases, force_reset)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_weighting", "_answer_weights", "_rollout_log", "_reference"]

    # -- Rollout -----------------------------------------------------------------------------------------------------

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """
        See the parent. After a complete rollout the answers to each case are compared.

        :raises ValueError: If observations, rewards or the ids in an info are not what they must be
        """
        check_observation(self._last_obs)  # type: ignore[arg-type]
        completed = super().collect_rollouts(*args, **kwargs)
        if completed:
            self._compare_answers()
        return completed

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: np.ndarray | None = None) -> None:
        """Called by the parent between ``env.step()`` and ``rollout_buffer.add()``: the place to read infos."""
        if dones is not None:
            self._stage(infos, dones)
        newest = self._stats_window_size  # of older ones the parent would keep nothing
        told = infos.newest_statistics(newest) if isinstance(infos, DecisionInfos) else infos[-newest:]
        super()._update_info_buffer(told, None if dones is None else dones[-newest:])

    def _stage(self, infos: list[dict[str, Any]], dones: np.ndarray) -> None:
        step = self.step_locals()
        if step is None:
            return
        if not dones.all():
            raise ValueError(
                f"The episode of environment {int(np.argmin(dones))} goes on after one step, but FairGRPO compares answers to "
                "cases, and every step must be a whole episode. For longer episodes use GroupRobustPPO"
            )
        assert self.answers is not None
        rewards = step["rewards"] if self._vec_normalize_env is None else self._vec_normalize_env.old_reward
        check_rewards(rewards)
        check_observation(step["new_obs"])
        self._check_same_observation()
        n_groups = None if self.group_names is None else len(self.group_names)
        n_sources = None if self.source_names is None else len(self.source_names)
        cases = read_case_infos(infos, self.answers, n_groups, n_sources)
        if self._weighting.needs_groups and self.latent_groups is None and cases.groups is None and cases.sources is None:
            raise ValueError(
                f"weighting={self.weighting!r} needs info['group_id'], info['source_id'] or both, and there are neither: name "
                "them in the environment, let groups be found with latent_groups=LatentCases(), or use weighting=None"
            )
        self.rollout_buffer.stage_cases(cases, dones, rewards)
        if isinstance(infos, DecisionInfos):
            self.rollout_buffer.silence(infos)

    def _check_same_observation(self) -> None:
        parts = self._last_obs if isinstance(self._last_obs, dict) else {"": self._last_obs}
        for values in parts.values():
            assert isinstance(values, np.ndarray) and self.answers is not None
            by_case = values.reshape(-1, self.answers, *values.shape[1:])
            if not (by_case == by_case[:, :1]).all():
                case = int(np.argmin((by_case == by_case[:, :1]).reshape(len(by_case), -1).all(axis=1)))
                first, last = case * self.answers, (case + 1) * self.answers - 1
                raise ValueError(
                    f"Environments {first} to {last} must hold answers to one case, but their observations differ"
                )

    # -- Comparison --------------------------------------------------------------------------------------------------

    def _compare_answers(self) -> None:
        """Advantages of the rollout in the buffer, and the weights of its cases."""
        buffer = self.rollout_buffer
        rewards = buffer.by_case(buffer.raw_rewards).astype(np.float64)
        advantages = group_relative_advantages(rewards, self.advantage)
        groups, sources = buffer.case_groups.ravel(), buffer.case_sources.ravel()
        if self.latent_groups is not None:
            groups = self.latent_groups.label(self._case_observations(), rewards, groups)
        history = initial_history() if self.case_history is None else self.case_history
        history = grow(history, len(self.source_names or ()), self._n_named_groups)
        smoothing = self.smoothing if self._weighting.forgets else 0.0
        self.case_history = update_history(history, rewards, groups, sources, smoothing)
        cases = Cases(rewards, advantages, groups, sources)
        weights, self.weighting_state = self._weighting(cases, self.case_history, self.weighting_state)
        buffer.replace_advantages(advantages, rewards.mean(axis=1))
        self._answer_weights = np.repeat(weights, rewards.shape[1]).reshape(buffer.raw_rewards.shape)
        self._rollout_log = case_log(self.case_history, cases, weights, self._group_labels, self.source_names)

    @property
    def _n_named_groups(self) -> int:
        return 0 if self._group_labels is None else len(self._group_labels)

    @property
    def _group_labels(self) -> Sequence[str] | None:
        """Names of the groups that weights go by: clusters have numbers only."""
        return None if self.latent_groups is not None else self.group_names

    def _case_observations(self) -> np.ndarray:
        """What the policy saw of each case, (C, D)."""
        buffer, step = self.rollout_buffer, self.answers
        if not buffer.generator_ready:
            flat = flat_observations(buffer.observations)[:, ::step]
        else:  # somebody has drawn a minibatch, which joins the axes of steps and environments
            joined = flat_observations(buffer.observations, leading=1)
            flat = joined.reshape(buffer.n_envs, buffer.buffer_size, -1)[::step].swapaxes(0, 1)
        return flat.reshape(-1, flat.shape[-1])

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """
        See the parent.

        :raises ValueError: In one of several processes that train together
        """
        if n_processes() > 1:
            raise ValueError(f"FairGRPO trains in one process, and this is one of {n_processes()}: use more environments")
        if self.reference_kl and self.reference_policy is None:
            self.reference_policy = freeze(self.policy)
        return super().learn(*args, **kwargs)

    def train(self) -> None:
        """See the parent. It consumes advantages that are weighted by case."""
        self.rollout_buffer.weight_samples(self._answer_weights, normalize=False)
        with self._kept_near_reference():
            super().train()
        for entries in (self.logger.name_to_value, self.logger.name_to_count, self.logger.name_to_excluded):
            entries.pop("train/value_loss", None)  # of an output that is not trained

    def _kept_near_reference(self) -> AbstractContextManager[None]:
        if not self.reference_kl:
            return nullcontext()
        assert self.reference_policy is not None
        if getattr(self, "_reference", None) is None:
            self._reference = thaw(self.reference_policy, self.device)
        divergence = divergence_from(self._reference, self.policy)
        return penalised(self, divergence, self.reference_kl, "train/reference_kl")

    def _promises_bits(self) -> bool:
        return False

    def _lean_policy(self) -> LeanPolicy | None:
        """The policy's networks, where all that training does with them is known; else None."""
        known = type(self).train is CaseAlgorithmMixin.train and isinstance(self, PPO)
        if not (self.fast and known and not self.reference_kl and type(self.rollout_buffer) is CaseRolloutBuffer):
            return None
        lean = lean_policy(self.policy)
        return None if lean is None else CasePolicy(lean, self.rollout_buffer.answers)

    def dump_logs(self, iteration: int = 0) -> None:
        """See the parent. Adds what the rollout told of groups and sources."""
        log = getattr(self, "_rollout_log", {})
        if self.latent_groups is not None:
            log = {**log, **self.latent_groups.log()}
        for key, value in log.items():
            self.logger.record(key, value)
        super().dump_logs(iteration)


def without_critic(policy_class: type[Any], policy_kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    :param policy_class: Class of the policy
    :param policy_kwargs: Arguments of its constructor
    :return: The same with layers for the actor only: what is left of the critic is one linear output, which is not trained
    """
    if not issubclass(policy_class, ActorCriticPolicy):
        return policy_kwargs
    default = NatureCNN if issubclass(policy_class, ActorCriticCnnPolicy) else None
    layers = policy_kwargs.get("net_arch")
    if layers is None:  # as SB3 chooses
        layers = [] if policy_kwargs.get("features_extractor_class", default) is NatureCNN else [64, 64]
    actor = layers.get("pi", []) if isinstance(layers, dict) else list(layers)
    return {**policy_kwargs, "net_arch": {"pi": actor, "vf": []}}
