"""What makes an on-policy algorithm of SB3 group-robust. ``collect_rollouts()`` and ``train()`` are the algorithm's own."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo.common import group_performance
from sb3_grpo.common.checks import checked_names, is_number, is_positive, per_group
from sb3_grpo.common.data_parallel import DataParallelMixin, rollout_of_all
from sb3_grpo.common.env_facts import EnvFacts, read_env_facts
from sb3_grpo.common.fast_update import FastUpdateMixin
from sb3_grpo.common.group_advantages import combination_weights, elapsed_discounts
from sb3_grpo.common.group_buffers import GroupBufferMixin, group_buffer
from sb3_grpo.common.group_infos import (
    GroupStep,
    check_observation,
    check_reward_split,
    check_rewards,
    finished_infos,
    read_group_infos,
    reward_factors,
    terminal_observations,
)
from sb3_grpo.common.group_logging import group_log
from sb3_grpo.common.group_policies import GroupCriticMixin, group_policy_class
from sb3_grpo.common.group_state import GroupSettings, GroupState, update_group_state
from sb3_grpo.common.latent_groups import LatentGroups
from sb3_grpo.common.masked_policies import check_masks_are_raw
from sb3_grpo.common.objectives import Objective
from sb3_grpo.common.schedules import evaluate_lam, is_always_zero, lam_schedule
from sb3_grpo.common.step_locals import StepLocalsMixin
from sb3_grpo.common.trade_off import choose_objective


class GroupRobustMixin(DataParallelMixin, FastUpdateMixin, StepLocalsMixin):
    """
    Goes before an on-policy algorithm with advantage standardisation (PPO and its relatives) in the list of base classes.

    Once per rollout: advantages of each group (group critic), performance of each group, coefficients of the objective,
    weights. Then the parent's ``train()`` consumes the weighted advantages.

    The constructor of the subclass calls the parent's with ``_init_setup_model=False``, then :meth:`_init_groups`, then
    ``_setup_model()``.
    """

    rollout_buffer: GroupBufferMixin
    normalize_advantage: bool

    def _init_groups(
        self,
        lam: float | str | Schedule,
        min_benefit: float | Mapping[str, float] | None,
        max_gap: float | None,
        objective: str | Objective | Callable[[np.ndarray], Any],
        objective_kwargs: dict[str, Any] | None,
        baseline: float | Mapping[str, float] | None,
        group_names: Sequence[str] | None,
        group_critic: bool | None,
        discount_time: float | bool | None,
        smoothing: float,
        shrinkage: float,
        max_weight: float,
        latent_groups: LatentGroups | None,
        fast: bool,
    ) -> None:
        self.lam = lam
        self.min_benefit = min_benefit
        self.max_gap = max_gap
        self.objective = objective
        self.objective_kwargs = objective_kwargs
        self.baseline = baseline
        self.group_names = None if group_names is None else checked_names(group_names)
        self.group_critic = group_critic
        self.discount_time = discount_time  # as given: None asks every new environment
        self.adopted_discount_time: float | bool | None = None
        #: What ``group_names`` were, () for none: load() may overwrite them, and group_state depends on them
        self.adopted_group_names: Sequence[str] | None = None
        self.smoothing = smoothing
        self.shrinkage = shrinkage
        self.max_weight = max_weight
        self.latent_groups = copy.deepcopy(latent_groups)  # it changes in training: two models must not share it
        self.fast = fast
        self.performance_scale: float | None = None
        self.group_state: GroupState | None = None

    # -- Setup -------------------------------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        # load() restores attributes before it calls this method; a new model has no schedule yet
        restored = hasattr(self, "lr_schedule")
        # With lam="auto" the objective says what lam is; until it has, lam may be anything
        self.lam_schedule: FloatSchedule = lam_schedule(1.0 if self.lam == "auto" else self.lam)
        self._check_arguments()
        self._adopt(self._read_env(self.env, restored))
        self._objective: Objective = choose_objective(
            self.lam,
            self.min_benefit,
            self.max_gap,
            self.objective,
            self.objective_kwargs,
            self.max_weight,
            self.group_names,
        )
        self._baseline = per_group("baseline", self.baseline, self.group_names)
        self._choose_critic(restored)
        super()._setup_model()
        self.rollout_buffer = group_buffer(self.rollout_buffer, self._n_values, self._elapsed_discount)

    def _check_arguments(self) -> None:
        """
        :raises ValueError: If an argument is not what it must be
        """
        if not (is_number(self.smoothing) and 0 < self.smoothing <= 1):
            raise ValueError(f"`smoothing` must be in (0, 1], got {self.smoothing!r}")
        if not (is_number(self.shrinkage) and self.shrinkage >= 0):
            raise ValueError(f"`shrinkage` must be a finite number, at least 0, got {self.shrinkage!r}")
        if not (is_number(self.max_weight) and self.max_weight >= 1):
            raise ValueError(f"`max_weight` must be a finite number, at least 1, got {self.max_weight!r}")
        if not (self.latent_groups is None or isinstance(self.latent_groups, LatentGroups)):
            raise ValueError(f"`latent_groups` must be None or LatentGroups(...), got {self.latent_groups!r}")
        if not isinstance(self.fast, bool):
            raise ValueError(f"`fast` must be True or False, got {self.fast!r}")
        if not (self.group_critic is None or isinstance(self.group_critic, bool)):
            raise ValueError(
                f"`group_critic` must be True, False or None (True if groups are known), got {self.group_critic!r}"
            )
        if not (self.discount_time is None or self.discount_time is False or is_positive(self.discount_time)):
            raise ValueError(
                "`discount_time` must be a positive number, None (the environment's, if it has one) or False (none), "
                f"got {self.discount_time!r}"
            )
        if self.env is None and not hasattr(self, "observation_space"):  # load() without environment knows the space
            raise ValueError("`env` must be an environment, a VecEnv or the id of a registered environment, got None")

    @property
    def _n_values(self) -> int:
        """Number of outputs of the group critic; 0: scalar critic."""
        return len(self.group_names) if self.group_critic and self.group_names is not None else 0

    @property
    def _elapsed_discount(self) -> bool:
        return self.adopted_discount_time is not None and self.adopted_discount_time is not False

    @property
    def _ids_required(self) -> bool:
        """Whether training cannot do without ``group_id``."""
        return self.latent_groups is None and not is_always_zero(self.lam_schedule)

    def _read_env(self, env: VecEnv | None, restored: bool) -> EnvFacts:
        """
        :param env: Environments
        :param restored: Whether this model comes from a file, or has trained already
        :return: What the environments state, completed by what the model knows
        :raises ValueError: If the environments name other groups than the model knows, an attribute is out of range, or masks
            do not reach the policy as they are
        """
        check_masks_are_raw(self.policy_class, env)
        trained, own = self.group_state is not None, self.adopted_group_names
        if trained and own is not None and self.group_names is not None and checked_names(self.group_names) != tuple(own):
            known_as = tuple(own) or "none: this model was trained without names"
            raise ValueError(f"`group_names` must be those of the model, {known_as}, got {self.group_names!r}")
        known = EnvFacts(self.group_names, self.adopted_discount_time, self.performance_scale)
        nameless = self.group_names is None and restored and self.group_state is not None
        return read_env_facts(env, known, self.discount_time, nameless)

    def _adopt(self, facts: EnvFacts) -> None:
        self.group_names, self.adopted_discount_time, self.performance_scale = facts
        self.adopted_group_names = facts.group_names or ()

    def _choose_critic(self, restored: bool) -> None:
        """
        :param restored: Whether this model comes from a file
        :raises ValueError: If a group critic is wanted without known groups, or the file's critic is of the other kind
        """
        if self.latent_groups is not None and (self.group_critic or self.group_names is not None):
            raise ValueError(
                "`latent_groups` finds groups that nobody has named and weights samples by them: leave `group_critic` alone, "
                f"and the groups unnamed, got group_critic={self.group_critic!r} and the groups {self.group_names}"
            )
        if self._objective.weights_samples and self.group_critic:
            raise ValueError(f"`group_critic` must be False for objective {self.objective!r}, which weights samples")
        if self.group_critic is None and self._objective.weights_samples:
            self.group_critic = False
        if self.group_critic is None:
            # Our own files say which critic they hold: this one was written by the parent algorithm, with a scalar critic
            self.group_critic = self.group_names is not None and not restored
        if self.group_critic and self.group_names is None:
            raise ValueError(
                "`group_critic=True` needs to know the groups: give the environment an attribute `group_names` or pass "
                "`group_names=`"
            )
        if restored and self.group_critic != issubclass(self.policy_class, GroupCriticMixin):
            raise ValueError(
                f"`group_critic={self.group_critic}` does not fit the saved policy, a {self.policy_class.__name__}: "
                "the critic of a saved model cannot be changed"
            )
        if self.group_critic:
            self.policy_class = group_policy_class(self.policy_class)
            self.policy_kwargs = {**self.policy_kwargs, "n_groups": self._n_values}

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """
        See the parent.

        :raises ValueError: If the environment names other groups than this model's, or corrupts the masks that it reads
        """
        env = self._wrap_env(env, self.verbose)
        facts = self._read_env(env, restored=True)
        super().set_env(env, force_reset)
        self._adopt(facts)
        self.rollout_buffer.elapsed_discount = self._elapsed_discount

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_objective", "_baseline"]

    # -- Rollout -----------------------------------------------------------------------------------------------------

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        """
        See the parent. After a complete rollout the state of the groups is brought up to date.

        :raises ValueError: If observations or the group items of an info are not what they must be
        """
        assert self._last_obs is not None and self._last_episode_starts is not None
        check_observation(self._last_obs)
        rollout_starts = self._last_episode_starts
        completed = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps, *args, **kwargs)
        if completed:
            if self.latent_groups is not None:
                self.latent_groups.relabel(self.rollout_buffer, rollout_starts)
            self._update_group_state(rollout_starts)
        return completed

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: np.ndarray | None = None) -> None:
        """Called by the parent between ``env.step()`` and ``rollout_buffer.add()``: the place to read infos."""
        super()._update_info_buffer(*finished_infos(infos, dones))
        step_locals = self.step_locals()
        if step_locals is None or dones is None:
            return
        rewards, vec_normalize = step_locals["rewards"], self._vec_normalize_env
        raw_rewards = rewards if vec_normalize is None else vec_normalize.old_reward
        check_observation(step_locals["new_obs"])
        finished, last_observations = terminal_observations(infos, dones)

        buffer = self.rollout_buffer
        if len(infos) == 0 and not self._elapsed_discount:  # some VecEnvs have none
            step = GroupStep(None, None, None, None)
        else:
            n_groups = None if self.group_names is None else len(self.group_names)
            step = read_group_infos(infos, n_groups, self._ids_required, self._elapsed_discount)
        if step.ids is not None or step.rewards is not None or self.latent_groups is not None:
            check_rewards(raw_rewards)
        if step.rewards is not None:
            check_reward_split(step.rewards, raw_rewards, step_locals["env"])
        buffer.stage(step, dones, raw_rewards)
        if self.group_critic and vec_normalize is not None:
            buffer.reward_factors[buffer.pos] = reward_factors(rewards, vec_normalize)
        if step.elapsed is not None:
            discount_time = float(self.adopted_discount_time)  # type: ignore[arg-type]
            buffer.discounts[buffer.pos] = elapsed_discounts(step.elapsed, discount_time)
        if self.group_critic or self._elapsed_discount:
            timed_out = np.array([infos[env].get("TimeLimit.truncated", False) for env in finished], dtype=bool)
            if timed_out.any():
                self._bootstrap_timeouts(infos, finished, last_observations, timed_out)

    def _bootstrap_timeouts(
        self, infos: list[dict[str, Any]], finished: list[int], last_observations: Any, timed_out: np.ndarray
    ) -> None:
        """
        Value what follows a time limit: of each group, and with the discount of the step. SB3's own bootstrap, for scalar
        values and a constant discount, is switched off by clearing the flag that it reads next (callbacks have seen it).

        :param infos: Infos of the step
        :param finished: Environments whose episode ended, k of them
        :param last_observations: Last observations of these episodes
        :param timed_out: Which of them were ended by a time limit, (k,)
        """
        buffer = self.rollout_buffer
        values = self._terminal_values(last_observations, finished) * timed_out[:, None]
        buffer.bootstraps[buffer.pos, finished] = buffer.discounts[buffer.pos, finished, None] * values
        for env in finished:
            infos[env]["TimeLimit.truncated"] = False

    def _terminal_values(self, observations: Any, envs: list[int]) -> np.ndarray:
        """
        :param observations: Last observations of k episodes
        :param envs: Environments they come from (a recurrent policy needs to know)
        :return: Their values, (k, G), or (k, 1) with a scalar critic
        """
        with th.no_grad():
            return self.policy.predict_values(self.policy.obs_to_tensor(observations)[0]).cpu().numpy()

    # -- Groups ------------------------------------------------------------------------------------------------------

    def _update_group_state(self, rollout_starts: np.ndarray) -> None:
        """
        Performance of the groups and coefficients of the objective, from the rollout in the buffer.

        :param rollout_starts: Whether each environment began the rollout with a new episode, (N,)
        """
        buffer, rollout_starts = rollout_of_all(self.rollout_buffer, rollout_starts)
        n_known = 0 if self.group_state is None else len(self.group_state["coefficients"])
        n_groups = max(n_known, int(buffer.group_ids.max()) + 1) if self.group_names is None else len(self.group_names)
        if n_groups == 0:
            self._warn_without_exposure()
            return
        before = {} if self.group_state is None else self.group_state["objective"]
        settings = GroupSettings(self._objective, self.smoothing, self.shrinkage, self.performance_scale, self._baseline)
        self.group_state = update_group_state(self.group_state, buffer, rollout_starts, n_groups, settings)
        names = self.group_names or [str(group) for group in range(n_groups)]
        if message := self._objective.warning(before, self.group_state["objective"], names):
            warnings.warn(message, stacklevel=2)
        if not self.group_state["performance"]["exposure"].any():
            self._warn_without_exposure()

    def _warn_without_exposure(self) -> None:
        """Without exposure no group has a performance, and all weigh 1: training would be the parent's without a word."""
        if self._ids_required and self.rollout_buffer.dones.any():
            warnings.warn(
                "Episodes have ended, but no group was exposed to anything: every weight stays 1, whatever `lam` is. A step "
                "needs info['group_id'] >= 0 if it concerns a group, and info['group_exposure'] > 0 where the fate of a unit "
                "is decided (GroupAssignment must be the outermost wrapper that ends episodes: put TimeLimit inside)",
                stacklevel=2,
            )

    def current_lam(self) -> float:
        """
        :return: lam at the current progress of training; with lam="auto" as the newest rollout left it
        """
        if self.lam == "auto":
            state = None if self.group_state is None else self.group_state["objective"]
            return self._objective.lam(state) if state else 0.0
        return evaluate_lam(self.lam_schedule, self._current_progress_remaining)

    def group_weights(self) -> np.ndarray | None:
        """
        :return: Weight of each group in the update, w, (G,); None if no group is known
        """
        if self.group_state is None:
            return None
        shares = group_performance.exposure_shares(self.group_state["performance"])
        return combination_weights(self.group_state["coefficients"], shares, self.current_lam(), self.max_weight)

    def _shape_advantages(self) -> np.ndarray | None:
        """Put the advantages to train with into the buffer. Returns the weight of each sample, (T, N); None: all weigh 1."""
        weights, buffer = self.group_weights(), self.rollout_buffer
        if self.group_critic and weights is not None:
            buffer.combine_groups(weights)
        elif weights is not None and self.current_lam() != 0:
            # A step that concerned no group (id -1) indexes the last weight
            return np.append(weights, 1.0)[buffer.group_ids]
        return None

    def train(self) -> None:
        """See the parent. It consumes advantages that are shaped by group."""
        sample_weights, normalize = self._shape_advantages(), self.normalize_advantage
        # The buffer standardises, in the same way for every parent
        self.rollout_buffer.weight_samples(sample_weights, normalize)
        self.normalize_advantage = False
        try:
            super().train()
        finally:
            self.normalize_advantage = normalize

    def _group_log(self) -> dict[str, float]:
        """What to log about groups, by key."""
        log: dict[str, float] = {}
        weights = self.group_weights()
        if self.group_state is not None and weights is not None:
            performance = self.group_state["performance"]
            reference = np.max(self.group_state["highest"] if self._baseline is None else self._baseline)
            log = group_log(performance, weights, self.current_lam(), float(reference), self.group_names)
            log |= self._objective.log(self.group_state["objective"])
        return log if self.latent_groups is None else {**log, **self.latent_groups.log()}

    def dump_logs(self, iteration: int = 0) -> None:
        """See the parent. Adds ``group/...``, of the rollout that the same dump describes."""
        for key, value in self._group_log().items():
            self.logger.record(key, value)
        super().dump_logs(iteration)
