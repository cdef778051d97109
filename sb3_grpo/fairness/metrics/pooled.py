"""Benefit rate per group, worst group, gap and efficiency, from patient records.

Everything is a sum over records first and a ratio afterwards. A group's benefit rate is ``sum benefit / sum demand`` over
all its counted records of all episodes; the smallest and the largest rate are taken last. Taking the gap of every episode
and averaging those answers another question (how unequal is a single episode, noise included) and is several times larger.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

MIN_PATIENTS: Final = 30
"""A group with fewer counted patients than this has no rate: it reads "insufficient"."""


class EpisodeTotals(NamedTuple):
    """Sums over the counted records of each episode and group: what every rate is computed from.

    :param demand: (E, G), in need weights, >= 0
    :param benefit: (E, G), 0 <= benefit <= demand
    :param counted: (E, G), number of counted patients
    """

    demand: FloatArray
    benefit: FloatArray
    counted: npt.NDArray[np.int64]

    def of_episodes(self, rows: npt.ArrayLike) -> "EpisodeTotals":
        """The totals of some episodes, in the order given.

        :param rows: row numbers, (E',)
        """
        chosen = np.asarray(rows, dtype=np.intp)
        return EpisodeTotals(self.demand[chosen], self.benefit[chosen], self.counted[chosen])


class Metrics(NamedTuple):
    """One policy's metrics, pooled over episodes.

    :param rates: (G,) benefit rate of each group in [0, 1]; NaN where a group is insufficient
    :param worst: smallest rate; NaN if every group is insufficient
    :param gap: largest rate - smallest rate; NaN with fewer than two groups that have a rate
    :param efficiency: ``benefit_share - cost_share``
    :param benefit_share: all benefit / all demand, insufficient groups included
    :param cost_share: all cost / all demand
    """

    rates: FloatArray
    worst: float
    gap: float
    efficiency: float
    benefit_share: float
    cost_share: float


def episode_totals(records: npt.NDArray[Any], n_groups: int, episodes: Sequence[int] | None = None) -> EpisodeTotals:
    """Sum demand, benefit and patients by episode and group over the counted records.

    :param records: (N,) structured array with at least the fields ``episode``, ``group``, ``demand``, ``benefit`` and
        ``counted``, see :data:`hospital_gym.records.RECORD_DTYPE`
    :param n_groups: number of groups G
    :param episodes: the E episode numbers, in the order of the rows; an episode without records keeps a row of zeros.
        Default: those that occur, ascending
    :return: the sums, each (E, G)
    :raises ValueError: if a group, episode, demand or benefit is outside its range, naming the field and the first bad value
    """
    numbers = np.unique(records["episode"]) if episodes is None else np.asarray(episodes, dtype=np.int64)
    order = np.argsort(numbers, kind="stable")
    ascending = numbers[order]
    if np.any(ascending[1:] == ascending[:-1]):
        raise ValueError(f"episodes: every number may occur once, got {list(numbers)}")
    row_of_rank = np.searchsorted(ascending, records["episode"])
    known = row_of_rank < len(ascending)
    known[known] = ascending[row_of_rank[known]] == records["episode"][known]
    _require(known, records["episode"], "episode", "one of the episodes asked for")
    _require((records["group"] >= 0) & (records["group"] < n_groups), records["group"], "group", f"0 to {n_groups - 1}")
    demand, benefit = records["demand"], records["benefit"]
    _require(np.isfinite(demand) & (demand >= 0), demand, "demand", "a finite number >= 0")
    # The benefit is a product of factors <= 1 and the demand: allow for its rounding.
    _require((benefit >= 0) & (benefit <= demand * (1 + 1e-9)), benefit, "benefit", "0 to the patient's demand")

    counted = records["counted"]
    cell = (order[row_of_rank] * n_groups + records["group"])[counted]
    n_cells = len(numbers) * n_groups
    shape = (len(numbers), n_groups)

    def total(values: npt.NDArray[Any]) -> FloatArray:
        return np.bincount(cell, weights=values[counted], minlength=n_cells).astype(np.float64).reshape(shape)

    patients = np.bincount(cell, minlength=n_cells).astype(np.int64).reshape(shape)
    return EpisodeTotals(demand=total(demand), benefit=total(benefit), counted=patients)


def _require(valid: npt.NDArray[np.bool_], values: npt.NDArray[Any], key: str, accepted: str) -> None:
    if not valid.all():
        first = int(np.flatnonzero(~valid)[0])
        raise ValueError(f"records[{first}]: {key}: got {values[first]!r}, expected {accepted}")


def sufficient_groups(totals: EpisodeTotals, min_patients: int = MIN_PATIENTS) -> npt.NDArray[np.bool_]:
    """Which groups have a rate at all: some demand and at least ``min_patients`` counted patients over all episodes.

    :param totals: sums by episode and group
    :param min_patients: least number of counted patients
    :return: (G,)
    """
    return (totals.demand.sum(axis=0) > 0) & (totals.counted.sum(axis=0) >= min_patients)


def benefit_rates(totals: EpisodeTotals, min_patients: int = MIN_PATIENTS) -> FloatArray:
    """Benefit rate of each group, pooled over the episodes.

    :param totals: sums by episode and group
    :param min_patients: groups with fewer counted patients are insufficient
    :return: (G,) in [0, 1]; NaN for an insufficient group
    """
    return ratio(totals.benefit.sum(axis=0), np.where(sufficient_groups(totals, min_patients), totals.demand.sum(axis=0), 0.0))


def policy_metrics(totals: EpisodeTotals, costs: npt.ArrayLike, min_patients: int = MIN_PATIENTS) -> Metrics:
    """All metrics of one policy.

    :param totals: sums by episode and group
    :param costs: (E,) cost of each episode in units of benefit, spent inside the counted window
    :param min_patients: groups with fewer counted patients are insufficient
    :return: the metrics, pooled over the episodes
    :raises ValueError: if there is not exactly one cost for each episode
    """
    cost = np.asarray(costs, dtype=np.float64)
    if cost.shape != totals.demand.shape[:1]:
        raise ValueError(f"costs: got shape {cost.shape}, expected one for each of the {len(totals.demand)} episodes")
    demand, benefit = totals.demand.sum(axis=0), totals.benefit.sum(axis=0)
    columns = metric_columns(demand, benefit, cost.sum(), sufficient_groups(totals, min_patients))
    all_demand = demand.sum()
    return Metrics(
        rates=columns[:-3],
        worst=float(columns[-3]),
        gap=float(columns[-2]),
        efficiency=float(columns[-1]),
        benefit_share=float(ratio(benefit.sum(), all_demand)),
        cost_share=float(ratio(cost.sum(), all_demand)),
    )


def metric_columns(
    demand: npt.ArrayLike, benefit: npt.ArrayLike, cost: npt.ArrayLike, sufficient: npt.NDArray[np.bool_]
) -> FloatArray:
    """The metrics of many sets of pooled sums at once, for resampling.

    :param demand: (..., G) pooled over episodes
    :param benefit: (..., G) pooled over episodes
    :param cost: (...) pooled over episodes
    :param sufficient: (G,) groups that have a rate, decided once on the whole sample
    :return: (..., G + 3): the rates (NaN for insufficient groups), then worst, gap, efficiency
    """
    d, b = np.asarray(demand, dtype=np.float64), np.asarray(benefit, dtype=np.float64)
    rates = ratio(b, np.where(sufficient, d, 0.0))
    eligible = rates[..., sufficient]
    nothing = np.full(rates.shape[:-1], np.nan)
    worst = eligible.min(axis=-1) if sufficient.any() else nothing
    gap = eligible.max(axis=-1) - worst if sufficient.sum() >= 2 else nothing
    efficiency = ratio(b.sum(axis=-1) - np.asarray(cost, dtype=np.float64), d.sum(axis=-1))
    return np.concatenate([rates, worst[..., None], gap[..., None], efficiency[..., None]], axis=-1)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> FloatArray:
    """Numerator / denominator; NaN where the denominator is not positive (never 0: nothing was measured)."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
