"""How many of each group are not yet treated, hour by hour after they came."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from sb3_grpo.fairness.accumulate import EVENTS, Counts
from sb3_grpo.fairness.metrics import MIN_PATIENTS, FloatArray

MARKS: Final = (1.0, 4.0, 8.0, 24.0, 72.0)
"""Hours at which tables give the share not yet treated."""
SHOWN_HOURS: Final = 72.0
"""Hours that charts show."""

_POINTS: Final = 73  # of a curve, every hour


@dataclass(frozen=True, eq=False)
class WaitCurve:
    """Share of a group's patients not in treatment by the hours since their arrival.

    :param hours: (K,) ascending from 0
    :param untreated: (K,) share in [0, 1]; NaN for an insufficient group
    :param n: number of patients
    """

    hours: FloatArray
    untreated: FloatArray
    n: int

    def at(self, hour: float) -> float:
        """The share not yet treated at an hour."""
        return float(self.untreated[np.searchsorted(self.hours, hour, side="right") - 1])


def wait_curves(counts: Counts, min_patients: int = MIN_PATIENTS) -> dict[str, WaitCurve]:
    """Curves of all groups: 1 - cumulative incidence of treatment, with leaving and death as competing events.

    Whoever left or died counts as untreated from then on; only those still waiting when observation ended are censored, at
    that moment (O. Aalen and S. Johansen, Scandinavian Journal of Statistics 5, 1978; statsmodels). Without competing events
    this is the curve of Kaplan and Meier.

    :param counts: what was counted of the patients
    :param min_patients: groups with fewer patients are insufficient
    :return: by group, on a common grid of hours; empty where waits are not known
    """
    if counts.waits is None:
        return {}
    grid = np.linspace(0.0, min(SHOWN_HOURS, counts.horizon), _POINTS)
    cells = counts.waits.groupby(level=["group", "event", "bin"]).sum().reset_index(name="patients")
    curves = {}
    for name in counts.groups:
        rows = cells[cells["group"] == name]
        n = int(rows["patients"].sum())
        heights = np.full(len(grid), np.nan)
        if n >= min_patients:
            bins = rows["bin"].to_numpy(dtype=np.float64)
            times = np.where(bins > 0, (bins - 0.5) * counts.width, 0.0)
            heights = _untreated(
                times, rows["event"].to_numpy(dtype=object), rows["patients"].to_numpy(dtype=np.float64), grid
            )
        curves[name] = WaitCurve(grid, heights, n)
    return curves


def _untreated(times: FloatArray, events: np.ndarray, patients: FloatArray, grid: FloatArray) -> FloatArray:
    from statsmodels.duration.survfunc import CumIncidenceRight

    treated, observed = events == EVENTS[0], events == EVENTS[-1]
    if not treated.any():
        return np.ones(len(grid))
    state = np.select([treated, ~observed], [1, 2], default=0)
    incidence = CumIncidenceRight(times, state, freq_weights=patients)
    steps = np.concatenate([[1.0], 1.0 - incidence.cinc[0]])
    return np.asarray(steps[np.searchsorted(incidence.times, grid, side="right")])
