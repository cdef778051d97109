"""What makes SB3's PPO weigh the advantage of a group beside that of the individual. Loops are PPO's own."""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo.common.checks import is_number, is_positive
from sb3_grpo.common.data_parallel import n_processes
from sb3_grpo.common.env_facts import EnvFacts
from sb3_grpo.common.group_advantages import group_gae
from sb3_grpo.common.group_algorithm import GroupRobustMixin
from sb3_grpo.common.group_logging import short_names
from sb3_grpo.common.group_performance import exposure_shares
from sb3_grpo.common.policy_penalty import Penalty, penalised
from sb3_grpo.group_relative_ppo.advantages import Mixture, batch_mean, concerned_group, relative_distance, shape
from sb3_grpo.group_relative_ppo.group_conditioned_policy import GroupConditionedPolicy, check_group_is_raw
from sb3_grpo.group_relative_ppo.group_divergence import divergence_from_groups, pairwise_divergence
from sb3_grpo.group_relative_ppo.time_values import TimeValues, add_returns, fitted_for, step_ages, time_values

#: Where the advantage of the group comes from
GROUP_ADVANTAGES = ("time", "critic", "batch_mean")

#: Observations of a rollout on which the policies of groups are compared
_COMPARED = 256

#: What GroupRobustMixin keeps for an objective, of which there is none here
_NOT_SAVED = ("lam", "min_benefit", "max_gap", "objective", "objective_kwargs", "baseline", "max_weight", "latent_groups")


class GroupRelativeMixin(GroupRobustMixin):
    """
    Goes before PPO in the list of base classes. Once per rollout: the advantage of the group beside that of the individual,
    and their mixture (:func:`~sb3_grpo.group_relative_ppo.shape`). Then PPO's ``train()`` consumes it. Groups, their
    performance and the group critic are those of :class:`~sb3_grpo.common.group_algorithm.GroupRobustMixin` at lam=0.

    The constructor of the subclass calls the parent's with ``_init_setup_model=False``, then :meth:`_init_relative`, then
    ``_setup_model()``.
    """

    def _init_relative(
        self,
        alpha_1: float,
        alpha_2: float,
        alpha_3: float,
        beta: float,
        group_advantage: str,
        group_kl: float,
        kl_alarm: float | None,
        group_names: Sequence[str] | None,
        discount_time: float | bool | None,
        smoothing: float,
        shrinkage: float,
        fast: bool,
    ) -> None:
        self.alpha_1 = alpha_1
        self.alpha_2 = alpha_2
        self.alpha_3 = alpha_3
        self.beta = beta
        self.group_advantage = group_advantage
        self.group_kl = group_kl
        self.kl_alarm = kl_alarm
        self.kl_alarmed = False
        #: The value of group and time; None before the first rollout
        self.time_values: TimeValues | None = None
        self._init_groups(
            lam=0.0,
            min_benefit=None,
            max_gap=None,
            objective="minimax",
            objective_kwargs=None,
            baseline=None,
            group_names=group_names,
            group_critic=group_advantage == "critic",
            discount_time=discount_time,
            smoothing=smoothing,
            shrinkage=shrinkage,
            max_weight=10.0,
            latent_groups=None,
            fast=fast,
        )

    # -- Setup -------------------------------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self._relative_log: dict[str, float] = {}
        super()._setup_model()
        if isinstance(self.policy, GroupConditionedPolicy):
            if self.group_names is not None and len(self.group_names) != self.policy.n_conditions:
                raise ValueError(
                    f"`group_names` are {self.group_names}, but the observation has room for {self.policy.n_conditions} groups"
                )
        elif self.group_kl:
            raise ValueError(
                f"`group_kl` is {self.group_kl}, but a {type(self.policy).__name__} does not know the group it acts for: its "
                "policies for all groups are one, and their divergence is always zero. Use policy='GroupConditionedPolicy' on "
                "an environment in GroupObservation, or group_kl=0"
            )

    def _check_arguments(self) -> None:
        super()._check_arguments()
        if not is_positive(self.alpha_1):
            raise ValueError(f"`alpha_1` must be a positive, finite number, got {self.alpha_1!r}")
        for key in ("alpha_2", "alpha_3", "group_kl"):
            if not (is_number(getattr(self, key)) and getattr(self, key) >= 0):
                raise ValueError(f"`{key}` must be a finite number, at least 0, got {getattr(self, key)!r}")
        if self.alpha_3 >= self.alpha_1:
            raise ValueError(
                f"`alpha_3` must be below `alpha_1`={self.alpha_1}, got {self.alpha_3}: from there on an action that is "
                "better than its group gains less than it is fined for the distance, and of two such actions the better one "
                "gets the lower advantage"
            )
        if not (is_number(self.beta) and self.beta >= 1):
            raise ValueError(f"`beta` must be a finite number, at least 1, got {self.beta!r}")
        if self.group_advantage not in GROUP_ADVANTAGES:
            raise ValueError(f"`group_advantage` must be one of {GROUP_ADVANTAGES}, got {self.group_advantage!r}")
        self.group_critic = self.group_advantage == "critic"
        if not (self.kl_alarm is None or is_positive(self.kl_alarm)):
            raise ValueError(f"`kl_alarm` must be a positive, finite number or None (no alarm), got {self.kl_alarm!r}")

    def _read_env(self, env: VecEnv | None, restored: bool) -> EnvFacts:
        check_group_is_raw(self.policy_class, self.policy_kwargs or {}, env)
        return super()._read_env(env, restored)

    def _choose_critic(self, restored: bool) -> None:
        if self.group_advantage == "critic" and self.group_names is None:
            raise ValueError(
                "`group_advantage='critic'` needs to know the groups: give the environment an attribute `group_names` or pass "
                "`group_names=`"
            )
        super()._choose_critic(restored)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), *_NOT_SAVED, "lam_schedule", "_relative_log", "_shaped"]

    @property
    def _mixture(self) -> Mixture:
        return Mixture(self.alpha_1, self.alpha_2, self.alpha_3, self.beta)

    @property
    def _ids_required(self) -> bool:
        return not self._mixture.is_individual

    def _promises_bits(self) -> bool:
        return self._mixture.is_individual and not self.group_kl

    # -- Rollout -----------------------------------------------------------------------------------------------------

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """
        See the parent.

        :raises ValueError: In one of several processes that train together
        """
        if n_processes() > 1:
            raise ValueError(f"GroupRelativePPO trains in one process, and this is one of {n_processes()}")
        return super().learn(*args, **kwargs)

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """See the parent. After a complete rollout its advantages are mixed."""
        completed = super().collect_rollouts(*args, **kwargs)
        if completed:
            self._warn_of_shared_steps()
            self._shaped, self._relative_log = self._mix()
            if isinstance(self.policy, GroupConditionedPolicy):
                self._relative_log |= self._compare_groups(self.policy)
        return completed

    def _warn_of_shared_steps(self) -> None:
        rewards, ids = self.rollout_buffer.group_rewards, self.rollout_buffer.group_ids
        if rewards is None or self.group_advantage == "critic" or not self._ids_required:
            return
        of_own_group = np.take_along_axis(rewards, np.maximum(ids, 0)[..., None], axis=-1)[..., 0] * (ids >= 0)
        if (np.abs(rewards).sum(axis=-1) > np.abs(of_own_group)).any():
            warnings.warn(
                f"info['group_rewards'] says that one decision matters to several groups, but group_advantage="
                f"{self.group_advantage!r} takes the whole reward for that of the step's own group, and removes the mean of "
                "each group although actions choose whom to serve: use group_advantage='critic'",
                stacklevel=2,
            )

    def _mix(self) -> tuple[np.ndarray, dict[str, float]]:
        """Advantages to train with, (T, N), and what to log of them."""
        buffer, mixture = self.rollout_buffer, self._mixture
        individual = buffer.by_step(buffer.advantages)
        if mixture.is_individual:
            return shape(individual, individual, buffer.group_ids, mixture)[0], {}
        if self.group_advantage == "critic":
            group = concerned_group(buffer.group_advantages, buffer.group_ids)
        elif self.group_advantage == "batch_mean":
            group = batch_mean(individual, buffer.group_ids)
        else:
            group = self._time_advantages(individual)
        # With the group critic actions may choose the group: its mean is part of what they are worth
        shaped, _ = shape(individual, group, buffer.group_ids, mixture, centred=self.group_advantage != "critic")
        return shaped, {"group/advantage_distance": relative_distance(individual, group)}

    def _time_advantages(self, individual: np.ndarray) -> np.ndarray:
        """
        Advantages over what the group can expect at this time. The fit is that of earlier rollouts, so that it does not depend
        on the actions that it judges; only the first rollout has no earlier one.

        :param individual: A_i, (T, N)
        :return: A_g, (T, N)
        """
        buffer = self.rollout_buffer
        ids, is_first = buffer.group_ids, self.time_values is None
        n_known = 0 if is_first else len(self.time_values["targets"])  # type: ignore[index]
        n_groups = len(self.group_names) if self.group_names is not None else max(n_known, int(ids.max()) + 1)
        before = fitted_for(self.time_values, n_groups, buffer.n_envs)
        ages = step_ages(buffer.episode_starts, before["ages"])
        returns = buffer.by_step(buffer.returns)
        self.time_values = add_returns(before, ids, ages, returns, self.smoothing)
        values = time_values(self.time_values if is_first else before, np.vstack([ids, ids[-1:]]), ages)
        advantages, _ = group_gae(
            (buffer.rewards + buffer.bootstraps[..., 0])[..., None],
            values[:-1, :, None],
            values[-1, :, None],
            buffer.episode_starts,
            buffer.dones[-1],
            buffer.discounts,
            buffer.gae_lambda,
        )
        return np.where(ids < 0, individual, advantages[..., 0])

    def _compare_groups(self, policy: GroupConditionedPolicy) -> dict[str, float]:
        """How far apart the policies of the groups are on states of the rollout; the alarm, if they are too far."""
        with th.no_grad():
            distributions = policy.distributions_by_group(self._some_observations())
            divergences = pairwise_divergence(distributions).cpu().numpy().astype(np.float64)
        seen = self._step_shares(policy.n_conditions) > 0
        divergences[~seen] = divergences[:, ~seen] = 0.0
        worst = float(divergences.max())
        first, second = np.unravel_index(divergences.argmax(), divergences.shape)
        names = self.group_names or [str(group) for group in range(policy.n_conditions)]
        log = {f"group/{name}/kl": float(divergences[g].max()) for g, name in enumerate(short_names(names))}
        if self.kl_alarm is not None:
            alarmed, self.kl_alarmed = self.kl_alarmed, worst > self.kl_alarm
            log["group/kl_alarm"] = float(self.kl_alarmed)
            if self.kl_alarmed and not alarmed:
                warnings.warn(
                    f"The policies of groups {names[first]!r} and {names[second]!r} have diverged: KL {worst:.3g} nats on "
                    f"average over states, above kl_alarm={self.kl_alarm}. In the same situation they are treated "
                    "differently: look whether that is wanted, or raise group_kl",
                    stacklevel=2,
                )
        return {"group/kl_worst": worst, **log}

    def _some_observations(self) -> Any:
        """Observations of the rollout at equal distances, as the policy gets them."""
        buffer = self.rollout_buffer

        def some(column: np.ndarray) -> np.ndarray:
            leading = 1 if buffer.generator_ready else 2
            rows = column.reshape(-1, *column.shape[leading:])
            return rows[np.linspace(0, len(rows) - 1, min(_COMPARED, len(rows))).astype(int)]

        observations: Any = buffer.observations
        parts = {key: some(column) for key, column in observations.items()} if isinstance(observations, dict) else None
        return obs_as_tensor(some(observations) if parts is None else parts, self.device)

    # -- Update ------------------------------------------------------------------------------------------------------

    def _shape_advantages(self) -> np.ndarray | None:
        self.rollout_buffer.set_advantages(self._shaped)
        return None

    def train(self) -> None:
        """See the parent. It consumes mixed advantages, and keeps the policies of groups alike."""
        with self._kept_alike():
            super().train()

    def _kept_alike(self) -> AbstractContextManager[None]:
        policy = self.policy
        if not (self.group_kl and isinstance(policy, GroupConditionedPolicy)):
            return nullcontext()
        shares = th.as_tensor(self._step_shares(policy.n_conditions), dtype=th.float32, device=self.device)
        return penalised(self, divergence_penalty(policy, shares), self.group_kl, "train/group_kl")

    def _step_shares(self, n_groups: int) -> np.ndarray:
        """Share of each group in the exposure, (G,); equal before any."""
        if self.group_state is None:
            return np.full(n_groups, 1.0 / n_groups)
        shares = exposure_shares(self.group_state["performance"])
        if len(shares) > n_groups:
            raise ValueError(f"info['group_id'] is {len(shares) - 1} somewhere, but the policy tells {n_groups} groups apart")
        return np.pad(shares, (0, n_groups - len(shares)))

    def _group_log(self) -> dict[str, float]:
        log = super()._group_log()
        for key in [key for key in log if key in ("group/lam", "group/ess") or key.endswith("/weight")]:
            del log[key]  # of a trade-off that does not exist here
        return {**log, **self._relative_log}


def divergence_penalty(policy: GroupConditionedPolicy, shares: th.Tensor) -> Penalty:
    """
    :param policy: The policy. It has just evaluated the observations, and keeps the distribution
    :param shares: Share of each group, (G,)
    :return: Divergence of what the policy does for each observation's own group from what it does for all groups
    """

    def penalty(obs: Any) -> th.Tensor:
        with th.no_grad():
            references = policy.distributions_by_group(obs)
        return divergence_from_groups(policy.action_dist, references, shares)

    return penalty
