"""How each group fares: the ratio of what it received to what it was exposed to, z_g = EMA(U_g) / EMA(B_g).

Pure functions on a state of plain arrays, which is saved with the model. T is the number of steps of a rollout, N of
environments, G of groups. Rewards here are always raw: the scale that ``VecNormalize`` gives them changes during training.
"""

from typing import TypedDict

import numpy as np

#: Deviations below this share of the pooled performance are rounding, not a scale
_LEAST_RELATIVE_SCALE = 1e-3


class PerformanceState(TypedDict):
    """Sums are discounted: each rollout multiplies the older ones by ``1 - smoothing``."""

    benefit: np.ndarray  # U, (G,): sum of rewards
    exposure: np.ndarray  # B, (G,): sum of exposure
    units: np.ndarray  # (G,): number of units (patients, episodes, steps) behind the two sums
    value: np.ndarray  # z, (G,): performance; NaN for a group that was never exposed
    rollout_exposure: np.ndarray  # (G,): exposure of the newest rollout
    pending: np.ndarray  # (N, G): rewards of units that are not decided yet
    episode: np.ndarray  # (N, 2): reward and exposure of the running episodes
    episode_moments: np.ndarray  # (3,): number, sum and sum of squares of the episodes' reward per exposure
    rollout_moments: np.ndarray  # (G, 3): sums over rollouts of U^2, U B and B^2, with the squares of the weights
    by_env: np.ndarray  # (2, N, G): U and B of each environment


def initial_performance(n_groups: int, n_envs: int) -> PerformanceState:
    """
    :param n_groups: Number of groups
    :param n_envs: Number of environments
    :return: A state without data
    """
    return PerformanceState(
        benefit=np.zeros(n_groups),
        exposure=np.zeros(n_groups),
        units=np.zeros(n_groups),
        value=np.full(n_groups, np.nan),
        rollout_exposure=np.zeros(n_groups),
        pending=np.zeros((n_envs, n_groups)),
        episode=np.zeros((n_envs, 2)),
        episode_moments=np.zeros(3),
        rollout_moments=np.zeros((n_groups, 3)),
        by_env=np.zeros((2, n_envs, n_groups)),
    )


def grow(state: PerformanceState, n_groups: int) -> PerformanceState:
    """
    :param state: State of G groups
    :param n_groups: Number of groups to make room for, at least G
    :return: State of ``n_groups`` groups; the new ones are without data
    """
    new = initial_performance(n_groups, len(state["pending"]))
    n_known = len(state["value"])
    for key in ("benefit", "exposure", "units", "value", "rollout_exposure", "pending", "by_env"):
        new[key][..., :n_known] = state[key]
    new["rollout_moments"][:n_known] = state["rollout_moments"]
    new["episode"], new["episode_moments"] = state["episode"], state["episode_moments"]
    return new


def forget_unfinished(state: PerformanceState, starts: np.ndarray) -> PerformanceState:
    """
    Drop what environments hold of episodes that were cut off by a reset, or everything if the number of environments changed.

    :param state: State after the previous rollout
    :param starts: Whether each environment begins the rollout with a new episode, (N,)
    :return: State to begin the rollout with
    """
    starts = np.asarray(starts, dtype=bool)
    new = state.copy()
    if len(starts) == len(state["pending"]):
        new["pending"] = state["pending"] * ~starts[:, None]
        new["episode"] = state["episode"] * ~starts[:, None]
    else:
        blank = initial_performance(len(state["value"]), len(starts))
        new["pending"], new["episode"], new["by_env"] = blank["pending"], blank["episode"], blank["by_env"]
    return new


def update_performance(
    state: PerformanceState,
    rewards: np.ndarray,
    exposure: np.ndarray,
    dones: np.ndarray,
    smoothing: float,
    shrinkage: float,
) -> PerformanceState:
    """
    Take a rollout into account.

    The averages of U and B are kept apart, for a mean of ratios is biased where a rollout holds few units. A reward waits
    until the unit it belongs to is decided (the group's next positive exposure in that environment, or the end of the
    episode), so that an episode longer than the rollout does not count as reward without exposure. z_g is drawn to the
    pooled value as if ``shrinkage`` further units had fared like everybody. A group without exposure in this rollout keeps
    its value.

    :param state: State after the previous rollout; not changed
    :param rewards: Raw rewards of each group, (T, N, G)
    :param exposure: Exposure of each group, (T, N, G)
    :param dones: Whether the step ended an episode, (T, N)
    :param smoothing: Share of the newest rollout in the averages, in (0, 1]
    :param shrinkage: Number of units that weigh as much as the pooled value, at least 0
    :return: The new state
    """
    decided = exposure > 0
    settled, pending = _settle(rewards, decided | dones[..., None], state["pending"])
    benefit = settled.sum(axis=0)
    episodes, episode = _split_episodes(np.stack([rewards.sum(-1), exposure.sum(-1)], axis=-1), dones, state["episode"])

    rollout_exposure = exposure.sum(axis=(0, 1), dtype=np.float64)
    rollout_units = decided.sum(axis=(0, 1))
    keep = 1.0 - smoothing
    total_benefit = keep * state["benefit"] + benefit
    total_exposure = keep * state["exposure"] + rollout_exposure
    units = keep * state["units"] + rollout_units

    seen = rollout_units > 0
    value = state["value"].copy()
    if seen.any():
        pooled = total_benefit.sum() / total_exposure.sum()
        ratio = total_benefit[seen] / total_exposure[seen]
        value[seen] = (units[seen] * ratio + shrinkage * pooled) / (units[seen] + shrinkage)

    moments = state["episode_moments"]
    rates = episodes[:, 0] / episodes[:, 1]
    if len(rates):
        moments = keep * moments + np.array([len(rates), rates.sum(), np.square(rates).sum()])
    return PerformanceState(
        benefit=total_benefit,
        exposure=total_exposure,
        units=units,
        value=value,
        rollout_exposure=rollout_exposure,
        pending=pending,
        episode=episode,
        episode_moments=moments,
        rollout_moments=keep**2 * state["rollout_moments"]
        + np.stack([benefit**2, benefit * rollout_exposure, rollout_exposure**2], axis=-1),
        by_env=keep * state["by_env"] + np.stack([settled, exposure.sum(axis=0, dtype=np.float64)]),
    )


def exposure_shares(state: PerformanceState) -> np.ndarray:
    """
    :param state: Performance so far
    :return: p_g = EMA(B_g) / sum EMA(B), (G,); equal shares before any exposure
    """
    total = state["exposure"].sum()
    n_groups = len(state["exposure"])
    return state["exposure"] / total if total > 0 else np.full(n_groups, 1.0 / n_groups)


def pooled_performance(state: PerformanceState) -> float:
    """
    :param state: Performance so far
    :return: Performance of all groups together; NaN before any exposure
    """
    total = state["exposure"].sum()
    return float(state["benefit"].sum() / total) if total > 0 else float("nan")


def standard_error(state: PerformanceState) -> np.ndarray:
    """
    How sure the performance is: standard error of the ratio z = U / B, linearised, from independent parts of the sums: the sum
    of (U_i - z B_i)^2 over the parts, divided by the square of sum B_i, times n / (n - 1) for the effective number of parts
    n = (sum B_i)^2 / sum B_i^2.

    Parts are the rollouts, and the environments: rollouts that follow each other share their patients and their workload,
    environments do not, but there may be few or only one. The larger error counts.

    :param state: Performance so far
    :return: (G,); NaN for a group that was exposed in less than one and a half such parts of either kind
    """
    u_u, u_b, b_b = state["rollout_moments"].T
    of_rollouts = _ratio_error(state["benefit"], state["exposure"], u_u, u_b, b_b)
    benefit, exposure = state["by_env"]
    of_envs = _ratio_error(
        benefit.sum(axis=0),
        exposure.sum(axis=0),
        np.square(benefit).sum(axis=0),
        (benefit * exposure).sum(axis=0),
        np.square(exposure).sum(axis=0),
    )
    return np.fmax(of_rollouts, of_envs)


def _ratio_error(benefit: np.ndarray, exposure: np.ndarray, u_u: np.ndarray, u_b: np.ndarray, b_b: np.ndarray) -> np.ndarray:
    """
    :param benefit: U, (G,)
    :param exposure: B, (G,)
    :param u_u: Sum of U_i^2 over the parts, (G,)
    :param u_b: Sum of U_i B_i, (G,)
    :param b_b: Sum of B_i^2, (G,)
    :return: Standard error of U / B, (G,); NaN where there are less than one and a half parts
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = benefit / exposure
        residual = np.maximum(u_u - 2 * ratio * u_b + ratio**2 * b_b, 0.0)
        n_parts = exposure**2 / b_b
        error = np.sqrt(residual * n_parts / (n_parts - 1)) / exposure
    return np.where(n_parts >= 1.5, error, np.nan)


def running_scale(state: PerformanceState) -> float:
    """
    One unit of performance for environments that state none: the standard deviation of the episodes' reward per exposure.

    :param state: Performance so far
    :return: Positive number; NaN before two episodes are finished
    """
    number, total, squares = state["episode_moments"]
    if number < 2:
        return float("nan")
    mean = total / number
    deviation = np.sqrt(max(squares / number - mean**2, 0.0))
    return float(max(deviation, _LEAST_RELATIVE_SCALE * abs(mean), 1e-8))


def _settle(rewards: np.ndarray, closed: np.ndarray, pending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    :param rewards: (T, N, G)
    :param closed: Whether the rewards of the group up to and including this step are settled, (T, N, G)
    :param pending: Unsettled rewards of earlier rollouts, (N, G)
    :return: Settled rewards and the new unsettled ones, both (N, G)
    """
    sums = pending + np.cumsum(rewards, axis=0, dtype=np.float64)
    last_closed = len(rewards) - 1 - closed[::-1].argmax(axis=0)
    settled = np.where(closed.any(axis=0), np.take_along_axis(sums, last_closed[None], axis=0)[0], 0.0)
    return settled, sums[-1] - settled


def _split_episodes(sums: np.ndarray, dones: np.ndarray, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    :param sums: Reward and exposure of each step, (T, N, 2)
    :param dones: Whether the step ended an episode, (T, N)
    :param running: Reward and exposure of the running episodes before the rollout, (N, 2)
    :return: Reward and exposure of the K finished episodes with exposure, (K, 2), and of the running ones, (N, 2)
    """
    totals = running + np.cumsum(sums, axis=0, dtype=np.float64)
    env, step = np.nonzero(dones.T)  # in order of environment, then time
    ends = totals[step, env]
    before = np.zeros_like(ends)
    same_env = env[1:] == env[:-1]
    before[1:][same_env] = ends[:-1][same_env]
    last_end = np.zeros_like(running)
    last_end[env] = ends  # the latest end of each environment is written last
    episodes = ends - before
    return episodes[episodes[:, 1] > 0], totals[-1] - last_end
