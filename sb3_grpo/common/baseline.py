"""How the groups fare under a reference policy: what ``baseline=`` of the group-robust algorithms compares with."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_maskable_policy
from sb3_contrib.ppo_mask import MaskablePPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_grpo.common.checks import checked_names
from sb3_grpo.common.group_infos import check_reward_split, env_attribute, read_group_infos


class _Tally:
    """
    Adds up what each group received and was exposed to.

    :param n_groups: Number of groups G
    :param vec_normalize: Wrapper that changes the rewards, None without
    """

    def __init__(self, n_groups: int, vec_normalize: VecNormalize | None):
        self.rewards = np.zeros(n_groups)
        self.exposure = np.zeros(n_groups)
        self.unassigned = 0.0  # rewards of steps that concerned no group
        self.vec_normalize = vec_normalize

    def __call__(self, local_variables: dict[str, Any], _: dict[str, Any]) -> None:
        """Called by SB3's ``evaluate_policy`` for each step of each environment."""
        env = local_variables["i"]
        step = read_group_infos([local_variables["info"]], len(self.rewards), True, False)
        assert step.ids is not None
        group = int(step.ids[0])
        raw = local_variables["rewards"] if self.vec_normalize is None else self.vec_normalize.old_reward
        if step.rewards is not None:
            check_reward_split(step.rewards, raw[env : env + 1], local_variables["env"])
            self.rewards += step.rewards[0]
        elif group >= 0:
            self.rewards[group] += raw[env]
        else:
            self.unassigned += raw[env]
        if step.exposure is not None:
            self.exposure += step.exposure[0]
        elif group >= 0:
            self.exposure[group] += 1.0

    def performance(self) -> np.ndarray:
        """Reward per exposure of each group, (G,); NaN without exposure."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.rewards / self.exposure + self.unassigned / self.exposure.sum()


def measured_performance(
    policy: Any,
    env: str | gym.Env | VecEnv,
    n_episodes: int = 100,
    group_names: Sequence[str] | None = None,
    seed: int | None = None,
    deterministic: bool = False,
) -> dict[str, float]:
    """
    Performance of each group under a policy: raw reward per exposure, pooled over episodes, as the algorithms measure it while
    they train. ``GroupRobustPPO(..., baseline=measured_performance(reference, env))`` judges each group by what it gains or
    loses against the reference, so that a group that fares badly under any policy does not take all weight.

    :param policy: Anything with SB3's ``predict``: a model, or a rule such as those of :mod:`hospital_gym.heuristics`
    :param env: Environment with groups, several of them, or the id of a registered one (16 are made). ``VecNormalize`` around
        them is used as it is: load its statistics and set ``training=False``
    :param n_episodes: Number of episodes, at least 1
    :param group_names: Names of the groups. By default the environment's attribute ``group_names``
    :param seed: Seed of the first environment; the others follow. None: the environments go on where they are
    :param deterministic: Whether the policy takes its most likely action instead of drawing one
    :return: Performance by name of the group
    :raises ValueError: If nobody names the groups, a group was never exposed in these episodes, ``n_episodes`` is below 1, or
        an info lacks what is needed
    """
    if isinstance(n_episodes, bool) or not isinstance(n_episodes, int) or n_episodes < 1:
        raise ValueError(f"`n_episodes` must be a whole number, at least 1, got {n_episodes!r}")
    own = isinstance(env, str)
    vec_env = make_vec_env(env, n_envs=16) if isinstance(env, str) else env
    if not isinstance(vec_env, VecEnv):
        environment = vec_env
        vec_env = DummyVecEnv([lambda: environment])
    names = env_attribute(vec_env, "group_names") if group_names is None else group_names
    if names is None:
        raise ValueError("`group_names` are unknown: give the environment an attribute `group_names` or pass them")
    names = checked_names(names)
    if seed is not None:
        vec_env.seed(seed)
    tally = _Tally(len(names), unwrap_vec_normalize(vec_env))
    evaluate = evaluate_maskable_policy if isinstance(policy, MaskablePPO) else evaluate_policy
    try:
        evaluate(policy, vec_env, n_episodes, deterministic, callback=tally, warn=False)
    finally:
        if own:
            vec_env.close()
    performance = tally.performance()
    if np.isnan(performance).any():
        absent = [name for name, value in zip(names, performance, strict=True) if np.isnan(value)]
        raise ValueError(f"`n_episodes`: the groups {absent} were never exposed in {n_episodes} episodes; play more of them")
    return dict(zip(names, performance.tolist(), strict=True))
