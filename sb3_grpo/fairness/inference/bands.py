"""Simultaneous bands of group rates, and intervals of the worst, the best and the gap that hold when groups tie.

How they are made stands in :mod:`sb3_grpo.fairness.inference.max_t`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.inference.max_t import N_BAND_RESAMPLES, RatioDraws, band, episode_interval, extremes, ratio_draws
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.metrics import MIN_PATIENTS, EpisodeTotals, sufficient_groups


@dataclass(frozen=True)
class GroupBands:
    """One policy's group rates and their extremes.

    :param group_names: names of the G groups
    :param rates: one per group; these hold simultaneously
    :param worst: smallest rate
    :param best: largest rate
    :param gap: largest - smallest rate
    :param worst_group: name of the group whose estimated rate is smallest; None if every group is insufficient
    :param insufficient: names of the groups without a rate
    """

    group_names: tuple[str, ...]
    rates: tuple[Interval, ...]
    worst: Interval
    best: Interval
    gap: Interval
    worst_group: str | None
    insufficient: tuple[str, ...]


@dataclass(frozen=True)
class PairedBands:
    """A policy minus a reference policy on the same episodes.

    :param group_names: names of the G groups
    :param rates: change of each group's rate; these hold simultaneously
    :param worst: change of the smallest rate
    :param best: change of the largest rate
    :param gap: change of the gap; negative is less disparity
    :param efficiency: change of the efficiency
    :param efficiency_ratio: efficiency / the reference's efficiency; NaN unless the latter is positive
    """

    group_names: tuple[str, ...]
    rates: tuple[Interval, ...]
    worst: Interval
    best: Interval
    gap: Interval
    efficiency: Interval
    efficiency_ratio: Interval

    @property
    def levels_down(self) -> bool:
        """Whether the gap fell although the smallest rate did not rise: less disparity only because better-off groups lost."""
        return self.gap.value < 0 and not self.worst.value > 0


def group_bands(
    totals: EpisodeTotals,
    group_names: Sequence[str],
    rng: np.random.Generator,
    n_resamples: int = N_BAND_RESAMPLES,
    confidence: float = 0.95,
    min_patients: int = MIN_PATIENTS,
) -> GroupBands:
    """Simultaneous bands of one policy's group rates; intervals of worst, best and gap that hold under ties.

    :param totals: sums by episode and group, each (E, G)
    :param group_names: names of the G groups
    :param rng: source of the resamples
    :param n_resamples: number of resamples
    :param confidence: confidence level, in (0, 1)
    :param min_patients: groups with fewer counted patients are insufficient
    :return: the bands; the unit is the episode
    :raises ValueError: if names and shapes do not match or a number is out of range
    """
    _check(totals, group_names, n_resamples, confidence)
    chosen = np.flatnonzero(sufficient_groups(totals, min_patients))
    draws = ratio_draws(totals.benefit[:, chosen], totals.demand[:, chosen], rng, n_resamples)
    return bands_of_draws(draws, chosen, group_names, confidence)


def bands_of_draws(
    draws: RatioDraws, chosen: npt.NDArray[np.intp], group_names: Sequence[str], confidence: float = 0.95
) -> GroupBands:
    """Bands of rates whose resamples are at hand.

    :param draws: the rates of the groups that have one
    :param chosen: their places among the names
    :param group_names: names of all groups
    :param confidence: confidence level
    """
    rates = [_clipped(rate, 0.0, 1.0) for rate in band(draws, np.eye(len(chosen)), confidence)]
    worst, best, gap = extremes(draws, len(chosen), confidence)
    return GroupBands(
        group_names=tuple(group_names),
        rates=_spread(rates, chosen, len(group_names), draws.n, confidence),
        worst=_clipped(worst, 0.0, 1.0),
        best=_clipped(best, 0.0, 1.0),
        gap=_clipped(gap, 0.0, 1.0),
        worst_group=group_names[chosen[np.argmin(draws.value)]] if len(chosen) else None,
        insufficient=tuple(name for k, name in enumerate(group_names) if k not in chosen),
    )


def paired_bands(
    totals: EpisodeTotals,
    costs: npt.ArrayLike,
    reference_totals: EpisodeTotals,
    reference_costs: npt.ArrayLike,
    group_names: Sequence[str],
    rng: np.random.Generator,
    n_resamples: int = N_BAND_RESAMPLES,
    confidence: float = 0.95,
    min_patients: int = MIN_PATIENTS,
) -> PairedBands:
    """What one policy changes against another on the same episodes.

    :param totals: the policy's sums by episode and group, each (E, G)
    :param costs: (E,) cost of each episode, in units of benefit
    :param reference_totals: those of the policy that it is compared with; row e is the same episode
    :param reference_costs: (E,)
    :param group_names: names of the G groups
    :param rng: source of the resamples
    :param n_resamples: number of resamples
    :param confidence: confidence level, in (0, 1)
    :param min_patients: groups with fewer counted patients are insufficient
    :return: the differences; the unit is the episode
    :raises ValueError: if the policies did not meet the same patients, or shapes do not match
    """
    _check(totals, group_names, n_resamples, confidence)
    if totals.demand.shape != reference_totals.demand.shape or (totals.demand != reference_totals.demand).any():
        raise ValueError(
            "reference_totals: demand differs, expected the same patients for both policies (same seed and episodes)"
        )
    chosen = np.flatnonzero(sufficient_groups(totals, min_patients))
    demand, n_groups = totals.demand[:, chosen], len(chosen)
    net, reference_net = (
        t.benefit.sum(axis=1) - _costs(c, len(t.benefit)) for t, c in ((totals, costs), (reference_totals, reference_costs))
    )
    draws = ratio_draws(
        np.concatenate([totals.benefit[:, chosen], reference_totals.benefit[:, chosen]], axis=1),
        np.concatenate([demand, demand], axis=1),
        rng,
        n_resamples,
    )
    new, old = np.eye(2 * n_groups)[:n_groups], np.eye(2 * n_groups)[n_groups:]
    worst, best, gap = extremes(draws, n_groups, confidence, old)
    efficiency, efficiency_ratio = (
        band(ratio_draws(top[:, None], bottom[:, None], rng, n_resamples), np.eye(1), confidence)[0]
        for top, bottom in ((net - reference_net, totals.demand.sum(axis=1)), (net, reference_net))
    )
    rates = band(draws, new - old, confidence)
    return PairedBands(
        group_names=tuple(group_names),
        rates=_spread(rates, chosen, len(group_names), draws.n, confidence),
        worst=worst,
        best=best,
        gap=gap,
        efficiency=efficiency,
        efficiency_ratio=efficiency_ratio,
    )


def _clipped(interval: Interval, least: float, most: float) -> Interval:
    """The part of an interval where the truth can lie."""
    if interval.method == "none":
        return interval
    return replace(interval, low=float(np.clip(interval.low, least, most)), high=float(np.clip(interval.high, least, most)))


def _spread(
    intervals: list[Interval], chosen: npt.NDArray[np.intp], n_groups: int, n: int, confidence: float
) -> tuple[Interval, ...]:
    """Intervals of the chosen groups in their places, "none" in the others."""
    spread = [episode_interval(np.nan, np.nan, np.nan, "none", n, confidence)] * n_groups
    for place, interval in zip(chosen, intervals, strict=True):
        spread[place] = interval
    return tuple(spread)


def _costs(costs: npt.ArrayLike, n: int) -> npt.NDArray[np.float64]:
    cost = np.asarray(costs, dtype=np.float64)
    if cost.shape != (n,):
        raise ValueError(f"costs: got shape {cost.shape}, expected one for each of the {n} episodes")
    return cost


def _check(totals: EpisodeTotals, group_names: Sequence[str], n_resamples: int, confidence: float) -> None:
    if totals.demand.ndim != 2 or totals.demand.shape[1] != len(group_names) or len(totals.demand) == 0:
        raise ValueError(f"totals: got shape {totals.demand.shape}, expected (episodes >= 1, {len(group_names)})")
    if n_resamples < 1:
        raise ValueError(f"n_resamples: got {n_resamples}, expected at least 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: got {confidence}, expected a number inside (0, 1)")
