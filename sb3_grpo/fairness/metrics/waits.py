"""Waits with those who were never treated: what is estimated, and how.

Two questions are answered, both without dropping anybody:

- *How long is the wait until treatment?* Product limit (Kaplan and Meier, JASA 53, 1958): who left, died or was still waiting
  when observation ended is censored at that moment. This is the wait in a hospital where nobody leaves or dies, provided those
  who did would have waited on like the others of their group; since the sickest die, that is optimistic for them.
- *How much of the time up to the horizon is spent without treatment?* Cumulative incidence with leaving and death as competing
  events (Aalen and Johansen, Scand. J. Statist. 5, 1978): whoever left or died counts as untreated up to the horizon. It needs
  no such proviso: only those still waiting at the end are censored.

A mean is restricted to the horizon: the integral of the share not yet treated from 0 to the horizon.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.accumulate import EVENTS

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]


class WaitStatistics(NamedTuple):
    """Statistics of one group's waits, in hours.

    :param mean: restricted mean wait until treatment (product limit)
    :param median: time by which half are treated (product limit); infinite if that is beyond the horizon or not observed
    :param p95: the same for 95 %
    :param untreated: restricted mean time without treatment (cumulative incidence), in [0, horizon]
    """

    mean: float
    median: float
    p95: float
    untreated: float


def wait_statistics(times: FloatArray, events: npt.NDArray[np.int64], weights: FloatArray, horizon: float) -> WaitStatistics:
    """Statistics of waits.

    :param times: (K,) hours, >= 0; what is beyond the horizon is censored there
    :param events: (K,) how the wait ended, index into :data:`sb3_grpo.fairness.accumulate.EVENTS`
    :param weights: (K,) number of patients, whole numbers
    :param horizon: hours
    :return: the statistics; NaN without patients
    """
    if weights.sum() <= 0:
        return WaitStatistics(np.nan, np.nan, np.nan, np.nan)
    from statsmodels.duration.survfunc import CumIncidenceRight, SurvfuncRight

    beyond = times > horizon
    times, events = np.where(beyond, horizon, times), np.where(beyond, EVENTS.index("observed"), events)
    treated = events == EVENTS.index("treated")
    if not treated.any():
        return WaitStatistics(horizon, np.inf, np.inf, horizon)
    survival = SurvfuncRight(times, treated.astype(np.int64), freq_weights=weights)
    # Treated, left or died; those observed to the end are the only ones censored.
    state = np.select([treated, events != EVENTS.index("observed")], [1, 2], default=0)
    incidence = CumIncidenceRight(times, state, freq_weights=weights)
    return WaitStatistics(
        mean=_area(survival.surv_times, survival.surv_prob, horizon),
        median=_first_below(survival.surv_times, survival.surv_prob, 0.5),
        p95=_first_below(survival.surv_times, survival.surv_prob, 0.05),
        untreated=_area(incidence.times, 1.0 - incidence.cinc[0], horizon),
    )


def _area(times: FloatArray, heights: FloatArray, horizon: float) -> float:
    """Integral from 0 to the horizon of the step function that is 1 at first and ``heights[k]`` from ``times[k]`` on."""
    edges = np.concatenate([[0.0], times, [horizon]])
    return float(np.diff(edges) @ np.concatenate([[1.0], heights]))


def _first_below(times: FloatArray, heights: FloatArray, level: float) -> float:
    """When the steps first reach the level (within rounding), infinite if they do not."""
    reached = heights <= level + 1e-12
    return float(times[int(np.argmax(reached))]) if reached.any() else np.inf


def binned_statistics(counts: "pd.Series", horizon: float, width: float) -> WaitStatistics:
    """Statistics of waits counted in bins; each bin stands for its middle, the first for 0.

    :param counts: number of patients by ``event`` and ``bin``, the last two levels of the index
    :param horizon: hours
    :param width: hours of a bin
    """
    bins = counts.index.get_level_values("bin").to_numpy(dtype=np.float64)
    names = counts.index.get_level_values("event")
    times = np.where(bins > 0, (bins - 0.5) * width, 0.0)
    events = np.array([EVENTS.index(name) for name in names], dtype=np.int64)
    return wait_statistics(times, events, counts.to_numpy(dtype=np.float64), horizon)
