"""What is logged about sources and groups of cases."""

from collections.abc import Sequence

import numpy as np

from sb3_grpo.common.group_advantages import effective_sample_size
from sb3_grpo.common.group_logging import short_names
from sb3_grpo.fair_grpo.advantages import uniform_cases
from sb3_grpo.fair_grpo.case_history import CaseHistory
from sb3_grpo.fair_grpo.case_weights import success_rates
from sb3_grpo.fair_grpo.weightings import Cases


def case_log(
    history: CaseHistory,
    cases: Cases,
    weights: np.ndarray,
    group_names: Sequence[str] | None,
    source_names: Sequence[str] | None,
) -> dict[str, float]:
    """
    ==============================  ==========================================================================================
    ``group/<name>/reward``         smoothed mean reward of the group's cases
    ``group/<name>/difficulty``     1 - where that lies between the lowest (0) and the highest reward so far (1)
    ``group/<name>/weight``         mean weight of the group's cases in the rollout; absent if there were none
    ``group/<name>/share``          smoothed share of the group in the cases
    ``group/worst``, ``group/gap``  lowest mean reward of a group, and highest minus lowest
    ``source/...``                  the same of the sources, if there are several
    ``cases/uniform``               share of the rollout's cases whose answers all earned the same: they teach nothing
    ``cases/ess``                   effective number of cases in the rollout under their weights, of those that teach something
    ==============================  ==========================================================================================

    :param history: What is known of sources and groups
    :param cases: The rollout
    :param weights: Weights of its cases, (C,)
    :param group_names: Names of the groups; None: their numbers
    :param source_names: Names of the sources; None: their numbers
    :return: Values by key
    """
    uniform = uniform_cases(cases.rewards)
    log = {
        "cases/uniform": float(uniform.mean()),
        "cases/ess": effective_sample_size(np.ones(np.count_nonzero(~uniform)), weights[~uniform]),
    }
    by_group, by_source = history["cases"][:, :-1].sum(axis=0), history["cases"].sum(axis=1)
    if len(by_group):
        rewards = history["rewards"][:, :-1].sum(axis=0)
        log |= _members("group", by_group, rewards, history, cases.groups, weights, group_names)
    if len(by_source) > 1:
        rewards = history["rewards"].sum(axis=1)
        log |= _members("source", by_source, rewards, history, cases.sources, weights, source_names)
    return log


def _members(
    key: str,
    numbers: np.ndarray,
    rewards: np.ndarray,
    history: CaseHistory,
    ids: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str] | None,
) -> dict[str, float]:
    """Of the K groups, or the K sources."""
    seen = numbers > 0
    if not seen.any():
        return {}
    means = np.divide(rewards, numbers, out=np.full(len(numbers), np.nan), where=seen)
    lowest, highest = history["extremes"].tolist()
    difficulty = 1.0 - success_rates(means, lowest, highest, 0.0)
    log = {f"{key}/worst": float(np.nanmin(means)), f"{key}/gap": float(np.nanmax(means) - np.nanmin(means))}
    known = ids >= 0
    in_rollout = np.bincount(ids[known], minlength=len(numbers))
    sums = np.bincount(ids[known], weights[known], minlength=len(numbers))
    for member, name in enumerate(short_names(names or [str(number) for number in range(len(numbers))])):
        if not seen[member]:
            continue
        log[f"{key}/{name}/reward"] = float(means[member])
        log[f"{key}/{name}/difficulty"] = float(difficulty[member])
        log[f"{key}/{name}/share"] = float(numbers[member] / numbers.sum())
        if in_rollout[member]:
            log[f"{key}/{name}/weight"] = float(sums[member] / in_rollout[member])
    return log
