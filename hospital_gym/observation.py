"""The observation of a hospital: which number stands where, in which unit.

The compiled simulator writes the fields of :data:`FIELDS` one after the other; policies that are not networks read them
back in natural units with :class:`ObservationLayout`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hospital_gym.simulator.layout import N_ACTIONS, N_BEDS, N_CLASSES, N_SKILLS

COUNT_SCALE: Final = 20.0
"""Patients and beds are observed in units of twenty."""
NURSE_SCALE: Final = 10.0
"""Nurses and equipment are observed in units of ten."""
_PER_GROUP: Final = -1


@dataclass(frozen=True)
class Field:
    """One field of the observation.

    :param name: its name
    :param size: how many numbers; -1 stands for one per group
    :param low: least value
    :param high: greatest value; the simulator clips to it
    :param scale: natural unit = observed value x scale
    :param logarithmic: the observed value is log(1 + natural value), scale unused
    :param meaning: what the numbers mean, in natural units
    """

    name: str
    size: int
    low: float
    high: float
    scale: float
    logarithmic: bool
    meaning: str


FIELDS: Final = (
    Field("queue_count", N_CLASSES, 0, 100, COUNT_SCALE, False, "patients waiting, by class"),
    Field("head_wait", N_CLASSES, 0, 20, 1, True, "wait of the head of the class / target wait of its severity"),
    Field("mean_wait", N_CLASSES, 0, 20, 1, True, "mean wait of the class / target wait of its severity"),
    Field("beds_free", N_BEDS, 0, 1000, COUNT_SCALE, False, "free beds, by type"),
    Field("beds_occupied", N_BEDS, 0, 1000, COUNT_SCALE, False, "occupied beds, by type"),
    Field("beds_closed", N_BEDS, -1000, 1000, COUNT_SCALE, False, "regular beds closed (negative: surge beds open), by type"),
    Field("beds_held", N_BEDS, 0, 10, 1, False, "hours a bed of the type has been held free / longest hold"),
    Field("occupants", N_CLASSES * N_BEDS, 0, 1000, COUNT_SCALE, False, "patients in beds, by class and bed type"),
    Field("staff_margin", N_SKILLS, -1000, 1000, NURSE_SCALE, False, "nurses to spare: all, paediatric + critical, critical"),
    Field("equipment_free", 1, -1000, 1000, NURSE_SCALE, False, "equipment units free"),
    Field("budget", 1, -10, 1000, 1, False, "budget, in units of one routine patient's benefit"),
    Field("slots", 1, 0, 1000, 1, False, "transfer slots saved up"),
    Field("overtime_left", 1, 0, 100, 8, False, "hours the overtime crew still works"),
    Field("block_opening", N_BEDS, 0, 100, 24, False, "hours until an ordered block opens, by type"),
    Field("block_left", N_BEDS, 0, 100, 24, False, "hours until a block closes, by type (from the order on)"),
    Field("clock", 4, -1, 1, 1, False, "sine and cosine of the hour of the day, then of the hour of the week"),
    Field("arrivals_24h", 1, 0, 100, 1, False, "arrivals in the last 24 h / mean requests a day"),
    Field("benefit_rate", _PER_GROUP, 0, 1, 1, False, "recent benefit rate, by group"),
    Field("action_mask", N_ACTIONS, 0, 1, 1, False, "1 for a valid action"),
)
"""The fields in their order. Classes are numbered 3 x age band + current severity; bed types, skills, age bands and
severities as in :mod:`hospital_gym.records`."""


class ObservationLayout:
    """Where each field stands for a given number of groups, and the way back to natural units.

    :param n_groups: number of groups
    """

    def __init__(self, n_groups: int) -> None:
        self.n_groups = n_groups
        self.slices: dict[str, slice] = {}
        start = 0
        for field in FIELDS:
            size = n_groups if field.size == _PER_GROUP else field.size
            self.slices[field.name] = slice(start, start + size)
            start += size
        self.size = start
        self._fields = {field.name: field for field in FIELDS}

    def limits(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Least and greatest observed values, each (size,)."""
        low, high = np.empty(self.size, dtype=np.float32), np.empty(self.size, dtype=np.float32)
        for name, where in self.slices.items():
            low[where], high[where] = self._fields[name].low, self._fields[name].high
        return low, high

    def read(self, observation: npt.NDArray[np.floating], name: str) -> npt.NDArray[np.float64]:
        """One field in natural units.

        :param observation: shape (..., size)
        :param name: a name of :data:`FIELDS`
        :return: shape (..., size of the field)
        """
        field = self._fields[name]
        values = np.asarray(observation[..., self.slices[name]], dtype=np.float64)
        return np.expm1(values) if field.logarithmic else values * field.scale

    def markdown(self) -> str:
        """The fields as a Markdown table, for the documentation."""
        rows = ["| Num | Field | Meaning (natural unit) | Observed as | Min | Max |", "|---|---|---|---|---|---|"]
        for name, where in self.slices.items():
            field = self._fields[name]
            shown = "log(1 + x)" if field.logarithmic else f"x / {field.scale:g}"
            rows.append(
                f"| {where.start}-{where.stop - 1} | `{name}` | {field.meaning} | {shown} | {field.low:g} | {field.high:g} |"
            )
        return "\n".join(rows)
