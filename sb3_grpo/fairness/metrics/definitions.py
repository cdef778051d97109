"""What every group metric is: formula, columns it needs, unit, and which direction is better."""

from typing import Final, NamedTuple

from sb3_grpo.fairness.facts import WAITS


class Definition(NamedTuple):
    """A metric of one group.

    :param label: what it is, in words
    :param unit: ``"share"`` (0 to 1), ``"hours"`` or ``"price"``
    :param better: 1 if more is better, -1 if less is, 0 if neither
    :param top: the fact whose sum is divided, or the statistic of the waits
    :param bottom: the fact whose sum it is divided by
    :param patients: the fact that counts the patients behind the number; fewer than the threshold are insufficient
    :param needs: facts that have to be known
    """

    label: str
    unit: str
    better: int
    top: str
    bottom: str
    patients: str
    needs: tuple[str, ...]


def _share(label: str, better: int, top: str, bottom: str = "n", patients: str = "") -> Definition:
    return Definition(label, "share", better, top, bottom, patients or bottom, (top, bottom))


def _of_waits(label: str, top: str) -> Definition:
    return Definition(label, "hours", -1, top, "", "n", (WAITS,))


DEFINITIONS: Final[dict[str, Definition]] = {
    "benefit_rate": _share("benefit received / demand", 1, "benefit", "demand", "n"),
    "treated": _share("treatment began", 1, "treated"),
    "in_time": _share("treatment began within the target wait", 1, "in_time"),
    "in_time_needing": Definition(
        "in time, of those who must not wait", "share", 1, "needing_in_time", "needing", "needing", ("needing_in_time",)
    ),
    "in_time_others": Definition(
        "in time, of the others", "share", 1, "others_in_time", "others", "others", ("needing_in_time",)
    ),
    "left": _share("left without treatment", -1, "left"),
    "died_waiting": _share("died waiting", -1, "died"),
    "transferred": _share("transferred", 0, "transferred"),
    "success": _share("treatment succeeded, of those whose end is known", 1, "success", "finished"),
    "wait_mean": _of_waits("mean wait until treatment, restricted to the horizon", "mean"),
    "wait_median": _of_waits("median wait until treatment", "median"),
    "wait_p95": _of_waits("95th percentile of the wait until treatment", "p95"),
    "untreated_mean": _of_waits("mean time without treatment, restricted to the horizon", "untreated"),
    "wait_treated_mean": Definition(
        "mean wait of the treated alone", "hours", -1, "wait_treated", "treated", "treated", ("wait_treated",)
    ),
    "cost_per_treated": Definition("cost per treated patient", "price", -1, "cost", "treated", "treated", ("cost", "treated")),
    "cost_per_benefit": Definition("cost per unit of benefit", "price", -1, "cost", "benefit", "n", ("cost", "benefit")),
}
"""Every metric of a group by name. ``others`` are those who may wait: all but ``needing``."""

WAIT_STATISTICS: Final = ("mean", "median", "p95", "untreated")

STANDARDISED: Final[dict[str, str]] = {
    "benefit_rate": "demand",
    "treated": "n",
    "in_time": "n",
    "left": "n",
    "died_waiting": "n",
    "success": "n",
    "wait_mean": "n",
    "untreated_mean": "n",
}
"""Metrics that have a severity-standardised version, and the fact whose shares over the strata are the common mix."""
