"""What is logged about groups."""

from collections.abc import Sequence

import numpy as np

from sb3_grpo.common.group_advantages import effective_sample_size
from sb3_grpo.common.group_performance import PerformanceState

#: SB3 cuts keys at 36 characters, and fails if two of them become equal: indentation and "/benefit_rate" leave 20 for a name
_NAME_LENGTH = 20


def group_log(
    performance: PerformanceState, weights: np.ndarray, lam: float, best_reference: float, names: Sequence[str] | None
) -> dict[str, float]:
    """
    ==============================  ==========================================================================================
    ``group/<name>/benefit_rate``   performance z_g: smoothed reward per exposure; absent before the group's first exposure
    ``group/<name>/weight``         weight w_g of the group's advantage in the update (1: as in SB3)
    ``group/<name>/exposure``       exposure of the group in the rollout
    ``group/worst``                 lowest benefit rate
    ``group/gap``                   highest minus lowest benefit rate
    ``group/lam``                   lam
    ``group/ess``                   effective number of units (patients, episodes, steps) under the weights, of all rollouts
                                    that the smoothing has not forgotten: far below the true number, few units rule the update
    ``group/levelling_best``        highest benefit rate minus the one it is held against: with a ``baseline`` the baseline's
                                    highest, otherwise the highest so far in training. Negative: the best group has lost
    ==============================  ==========================================================================================

    :param performance: Performance of the groups
    :param weights: Weights of the groups, (G,)
    :param lam: lam
    :param best_reference: What the highest benefit rate is held against
    :param names: Names of the groups; None: their numbers
    :return: Values by key; empty before any exposure
    """
    rates = performance["value"]
    seen = ~np.isnan(rates)
    if not seen.any():
        return {}
    log = {
        "group/worst": float(rates[seen].min()),
        "group/gap": float(np.ptp(rates[seen])),
        "group/lam": lam,
        "group/ess": effective_sample_size(performance["units"], weights),
        "group/levelling_best": float(rates[seen].max()) - best_reference,
    }
    for group, name in enumerate(short_names(names or [str(group) for group in range(len(rates))])):
        if seen[group]:
            log[f"group/{name}/benefit_rate"] = float(rates[group])
        log[f"group/{name}/weight"] = float(weights[group])
        log[f"group/{name}/exposure"] = float(performance["rollout_exposure"][group])
    return log


def short_names(names: Sequence[str]) -> list[str]:
    """
    :param names: Distinct names
    :return: Distinct names of at most 20 characters without slash (it separates the parts of a key); short names are kept
    """
    plain = [name.replace("/", "-") for name in names]
    short = [name[:_NAME_LENGTH] for name in plain]
    for index, name in enumerate(short):
        if len(plain[index]) > _NAME_LENGTH or short.count(name) > 1:
            suffix = f"~{index}"
            short[index] = name[: _NAME_LENGTH - len(suffix)] + suffix
    return short
