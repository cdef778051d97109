"""What the rewards of the cases so far say about sources and groups. Pure functions on a state of plain arrays.

C is the number of cases of a rollout, R of answers to each, S of sources, G of groups. A *cell* is a group within a source.
"""

from typing import Any, TypedDict

import numpy as np
import torch as th

from sb3_grpo.fair_grpo.advantages import as_array, as_rewards


class CaseHistory(TypedDict):
    """
    Sums are discounted: each rollout multiplies the older ones by ``1 - smoothing``. The last column holds the cases of no
    group (id -1). Plain arrays, so that it is saved with the model.
    """

    cases: np.ndarray  # N, (S, G + 1): number of cases
    rewards: np.ndarray  # (S, G + 1): sum of their mean rewards
    moments: np.ndarray  # (3,): number, sum and sum of squares of the answers' rewards
    extremes: np.ndarray  # (2,): lowest and highest reward so far; never forgotten


def initial_history(n_sources: int = 1, n_groups: int = 0) -> CaseHistory:
    """
    :param n_sources: Number of sources known from the start; it grows as others appear
    :param n_groups: Number of groups, likewise
    :return: A history without cases
    """
    shape = (n_sources, n_groups + 1)
    return CaseHistory(
        cases=np.zeros(shape), rewards=np.zeros(shape), moments=np.zeros(3), extremes=np.array([np.inf, -np.inf])
    )


def update_history(
    history: CaseHistory,
    rewards: np.ndarray | th.Tensor,
    groups: Any = None,
    sources: Any = None,
    smoothing: float = 0.1,
) -> CaseHistory:
    """
    Take a rollout (a batch of prompts) into account.

    :param history: History of the earlier ones; not changed
    :param rewards: Rewards of R answers to each of C cases, (C, R)
    :param groups: Group of each case, (C,) integers, -1 for none; None: none has any
    :param sources: Source of each case, (C,) integers; None: all come from one
    :param smoothing: Share of the newest rollout in the averages, in [0, 1]; 0: nothing is forgotten
    :return: The new history
    :raises ValueError: If rewards, groups or sources are not what they must be
    """
    array = as_rewards(rewards)
    group_ids, source_ids = as_ids("groups", groups, len(array), -1), as_ids("sources", sources, len(array), 0)
    new = grow(history, int(source_ids.max()) + 1, int(group_ids.max()) + 1)
    keep = 1.0 - smoothing
    cell = (source_ids, group_ids)  # id -1 indexes the last column
    new["cases"] *= keep
    new["rewards"] *= keep
    np.add.at(new["cases"], cell, 1.0)
    np.add.at(new["rewards"], cell, array.mean(axis=1))
    new["moments"] = keep * history["moments"] + [array.size, array.sum(), np.square(array).sum()]
    lowest, highest = history["extremes"]
    new["extremes"] = np.array([min(lowest, array.min()), max(highest, array.max())])
    return new


def grow(history: CaseHistory, n_sources: int, n_groups: int) -> CaseHistory:
    """
    :param history: Any history; not changed
    :param n_sources: Number of sources to make room for
    :param n_groups: Number of groups
    :return: A copy with at least that many; the new ones are without cases
    """
    known_sources, known_groups = history["cases"].shape[0], history["cases"].shape[1] - 1
    new = initial_history(max(n_sources, known_sources), max(n_groups, known_groups))
    for old_sums, sums in ((history["cases"], new["cases"]), (history["rewards"], new["rewards"])):
        sums[:known_sources, :known_groups] = old_sums[:, :-1]
        sums[:known_sources, -1] = old_sums[:, -1]
    new["moments"], new["extremes"] = history["moments"].copy(), history["extremes"].copy()
    return new


def as_ids(key: str, ids: Any, n_cases: int, lowest: int) -> np.ndarray:
    """
    :param key: Name of the argument, for messages
    :param ids: Ids of the cases, (C,); None: all have the lowest
    :param n_cases: Number of cases C
    :param lowest: Lowest id
    :return: (C,) int64
    :raises ValueError: If they are no integers, too few or too many, or too low
    """
    if ids is None:
        return np.full(n_cases, lowest, dtype=np.int64)
    array = as_array(ids)
    if array.dtype.kind not in "iu" or array.shape != (n_cases,) or (array < lowest).any():
        raise ValueError(f"`{key}` must hold an integer, at least {lowest}, for each of the {n_cases} cases, got {ids!r}")
    return array.astype(np.int64)


def pooled_reward(history: CaseHistory) -> float:
    """
    :param history: What is known
    :return: Mean reward of all cases; NaN without any
    """
    cases = history["cases"].sum()
    return float(history["rewards"].sum() / cases) if cases > 0 else float("nan")


def shrunken_means(cases: np.ndarray, rewards: np.ndarray, parent: Any, shrinkage: float) -> np.ndarray:
    """
    Mean rewards, drawn to those of a larger population as if ``shrinkage`` further cases had fared like it.

    :param cases: Numbers of cases, any shape
    :param rewards: Sums of rewards, same shape
    :param parent: Mean rewards of the larger population, broadcastable
    :param shrinkage: Number of cases that weigh as much as the parent, at least 0
    :return: Same shape; the parent's mean where there is neither case nor shrinkage
    """
    weight = cases + shrinkage
    means = (rewards + shrinkage * parent) / np.where(weight > 0, weight, 1.0)
    return np.where(weight > 0, means, parent)


def reward_scale(history: CaseHistory) -> float:
    """
    :param history: What is known
    :return: Standard deviation of the answers' rewards; NaN if they are all the same
    """
    number, total, squares = history["moments"]
    if number < 2:
        return float("nan")
    variance = squares / number - (total / number) ** 2
    return float(np.sqrt(variance)) if variance > 1e-12 * max(1.0, squares / number) else float("nan")
