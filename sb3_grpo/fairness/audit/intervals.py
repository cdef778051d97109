"""Intervals of shares and means by group from sums over independent units.

Groups of a log differ in size by factors of hundreds, and shares lie near 0 or 1. A bootstrap of a small group with three
failures meets resamples without any, and in a simultaneous band it then widens everybody's interval. So shares get the
interval of E. L. Korn and B. I. Graubard ("Confidence intervals for proportions with small expected number of positive counts
estimated from survey data", Survey Methodology 24, 1998): that of Clopper and Pearson for the number of independent patients
that would be as informative, given how much units differ. Bonferroni's correction makes them hold for all groups together.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from sb3_grpo.fairness.inference.bands import GroupBands, bands_of_draws
from sb3_grpo.fairness.inference.max_t import RatioDraws, band, ratio_draws
from sb3_grpo.fairness.inference.results import EPISODE, Interval
from sb3_grpo.fairness.metrics import MIN_PATIENTS, FloatArray

RARE: Final = 20
"""Patients with, or without, an outcome in some group below which the extremes rest on Student's t and not on resamples."""

KORN_GRAUBARD: Final = "Korn-Graubard"


def chosen_groups(bottom: FloatArray, patients: FloatArray) -> npt.NDArray[np.intp]:
    """Places of the groups that have a ratio at all.

    :param bottom: (U, G) by unit and group
    :param patients: (G,) patients behind each ratio
    """
    return np.flatnonzero((patients >= MIN_PATIENTS) & (bottom.sum(axis=0) > 0))


def share_intervals(
    groups: Sequence[str], top: FloatArray, bottom: FloatArray, confidence: float = 0.95
) -> dict[str, Interval]:
    """Shares of patients with intervals that hold for all groups together.

    :param groups: names of the G groups
    :param top: (U, G) patients with the outcome by unit and group
    :param bottom: (U, G) patients
    :param confidence: confidence level, in (0, 1)
    :return: by group; NaN for groups of fewer than 30 patients, no limits with fewer than two units
    """
    n_units = len(top)
    result = {name: Interval(np.nan, np.nan, np.nan, EPISODE, n_units, "none", confidence) for name in groups}
    chosen = chosen_groups(bottom, bottom.sum(axis=0))
    risk = (1 - confidence) / max(len(chosen), 1)
    for place in chosen:
        n, x = float(bottom[:, place].sum()), float(top[:, place].sum())
        interval = Interval(x / n, np.nan, np.nan, EPISODE, n_units, "none", confidence)
        if n_units >= 2:
            low, high = korn_graubard(top[:, place], bottom[:, place], 1 - risk)
            interval = replace(interval, low=low, high=high, method=KORN_GRAUBARD)
        result[groups[place]] = interval
    return result


def korn_graubard(top: FloatArray, bottom: FloatArray, confidence: float) -> tuple[float, float]:
    """Limits of one share.

    :param top: (U,) patients with the outcome by unit
    :param bottom: (U,) patients
    :param confidence: confidence level, in (0, 1)
    """
    units, n = len(top), float(bottom.sum())
    share = float(top.sum()) / n
    residual = top - share * bottom
    variance = units / (units - 1) * float(residual @ residual) / n**2
    level = (1 + confidence) / 2
    effective = n
    if 0 < share < 1 and variance > 0:
        by_units = float(stats.t.ppf(level, n - 1) / stats.t.ppf(level, units - 1)) ** 2
        effective = min(n, share * (1 - share) / variance * by_units)
    x = share * effective
    low = 0.0 if share == 0 else float(stats.beta.ppf(1 - level, x, effective - x + 1))
    high = 1.0 if share == 1 else float(stats.beta.ppf(level, x + 1, effective - x))
    return low, high


def mean_intervals(
    groups: Sequence[str], top: FloatArray, bottom: FloatArray, patients: FloatArray, seed: int, confidence: float = 0.95
) -> dict[str, Interval]:
    """Means, ratios of sums, with intervals that hold for all groups together (studentised bootstrap of units, Bonferroni).

    :param groups: names of the G groups
    :param top: (U, G) by unit and group
    :param bottom: (U, G)
    :param patients: (G,) patients behind each mean
    :param seed: seed of the resamples
    :param confidence: confidence level, in (0, 1)
    """
    result = {name: Interval(np.nan, np.nan, np.nan, EPISODE, len(top), "none", confidence) for name in groups}
    chosen = chosen_groups(bottom, patients)
    for place in chosen:  # each by itself: a small group does not widen the others
        draws = ratio_draws(top[:, [place]], bottom[:, [place]], np.random.default_rng(seed))
        (interval,) = band(draws, np.eye(1), 1 - (1 - confidence) / len(chosen))
        low = min(max(interval.low, 0.0), interval.value) if (top >= 0).all() else interval.low
        result[groups[place]] = replace(interval, low=low, confidence=confidence)
    return result


def share_bands(groups: Sequence[str], top: FloatArray, bottom: FloatArray, seed: int, confidence: float = 0.95) -> GroupBands:
    """Shares with their intervals, and worst, best and gap with intervals that hold when groups tie.

    :param groups: names of the G groups
    :param top: (U, G) patients with the outcome by unit and group
    :param bottom: (U, G) patients
    :param seed: seed of the resamples
    :param confidence: confidence level, in (0, 1)
    """
    chosen = chosen_groups(bottom, bottom.sum(axis=0))
    draws = ratio_draws(top[:, chosen], bottom[:, chosen], np.random.default_rng(seed))
    events = np.minimum(top.sum(axis=0), (bottom - top).sum(axis=0))[chosen]
    if len(chosen) and events.min() < RARE:
        draws = without_resamples(draws)
    bands = bands_of_draws(draws, chosen, groups, confidence)
    rates = share_intervals(groups, top, bottom, confidence)
    return replace(bands, rates=tuple(rates[name] for name in groups))


def without_resamples(draws: RatioDraws) -> RatioDraws:
    """The same with limits from Student's t and Bonferroni's correction alone."""
    return draws._replace(change=draws.change[:0], resampled=draws.resampled[:0])
