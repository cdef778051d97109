"""What is taken for independent when intervals are made from a log, and what that assumes."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.audit.files import RecordsError

if TYPE_CHECKING:
    import pandas as pd

PERIODS: Final = {"day": 24.0, "week": 168.0}
"""Hours of the periods of arrival that can be units."""

PATIENT: Final = "patient"
NONE: Final = "none"

BATCHES: Final = 200
"""Batches into which patients are dealt where the patient is the unit. The variance between batches of whole patients is that
of independent patients (the random-groups estimate; K. M. Wolter, Introduction to Variance Estimation, chapter 2)."""

MOST_UNITS: Final = 50_000
"""More units than this are no clusters."""

FOLDED: Final = 1000
"""Batches into which whole units are dealt where there are more units than this: resampling need not be longer."""


@dataclass
class Units:
    """Numbers the units of a log as it is read.

    :param kind: ``"day"``, ``"week"``, ``"episode"``, ``"patient"``, ``"none"`` or the name of a column
    """

    kind: str
    _numbers: dict[str, int] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    @property
    def column(self) -> str | None:
        """The attribute that names the unit, if one does."""
        return None if self.kind in (*PERIODS, PATIENT, NONE) else self.kind

    @property
    def n(self) -> int:
        """Number of units so far."""
        return len(self._seen)

    def number(self, frame: "pd.DataFrame") -> npt.NDArray[np.int64]:
        """The unit of every patient, (N,).

        :raises RecordsError: if there are too many units to be clusters
        """
        units = self._number(frame)
        self._seen.update(np.unique(units).tolist())
        if self.n > MOST_UNITS:
            raise RecordsError(
                f"cluster: got {self.kind!r}, which has more than {MOST_UNITS} values; expected a column whose patients share "
                "beds and staff, such as a ward, or 'week'"
            )
        return units

    def _number(self, frame: "pd.DataFrame") -> npt.NDArray[np.int64]:
        if self.kind in PERIODS:
            return np.floor(frame["arrival"].to_numpy(dtype=np.float64) / PERIODS[self.kind]).astype(np.int64)
        if self.kind == NONE:
            return np.zeros(len(frame), dtype=np.int64)
        if self.kind == PATIENT:
            return (_hashes(frame) % np.uint64(BATCHES)).astype(np.int64)
        if self.kind == "episode":
            return frame["episode"].to_numpy(dtype=np.int64)
        values = frame[self.kind].array
        for name in values.categories:
            self._numbers.setdefault(str(name), len(self._numbers))
        table = np.array([*(self._numbers[str(name)] for name in values.categories), -1], dtype=np.int64)
        return table[np.asarray(values.codes, dtype=np.int64)]

    @property
    def name(self) -> str:
        """What tables call the unit."""
        if self.kind in PERIODS:
            return f"{self.kind} of arrival"
        return {PATIENT: "patient", NONE: "none"}.get(self.kind, self.kind)

    @property
    def statement(self) -> str:
        """What is assumed, in plain words."""
        n = self.n
        folded = f" For the resampling they are dealt into {FOLDED} batches of whole units." if n > FOLDED else ""
        if self.kind == NONE:
            return "No unit was named, so nothing can be said about how certain the numbers are: name a cluster."
        if self.kind == PATIENT:
            return (
                "Unit: the patient, as asked for. Assumed: every patient is independent of every other. Patients who share "
                "beds, queues and staff are not, so these intervals are too narrow, often by a factor of 2 to 4. "
                f"Computed from {BATCHES} random batches of whole patients."
            )
        if self.kind in PERIODS:
            return (
                f"Unit: the {self.kind} of arrival, n = {n}. Assumed: patients of different {self.kind}s are independent; "
                f"those of one {self.kind} may depend on each other in any way. Queues carry over from one {self.kind} to "
                f"the next, and seasons last longer, so the intervals are, if anything, too narrow.{folded}"
            )
        if self.kind == "episode":
            return f"Unit: the episode, n = {n}. Assumed: episodes are independent, as those of a simulator are.{folded}"
        return (
            f"Unit: {self.kind}, n = {n}. Assumed: patients with different {self.kind} are independent; those of one "
            f"{self.kind} may depend on each other in any way. What happened in one month to all of them is not allowed for, "
            f"and nothing is said about a {self.kind} that is not in the file.{folded}"
        )

    @property
    def warning(self) -> str | None:
        """What a user must be told at once."""
        if self.kind == PATIENT:
            return "the unit is the patient: patients share beds and staff, so the intervals are too narrow"
        if self.kind == NONE:
            return "no unit: no intervals; name a cluster: week, day or a column such as ward"
        if self.n < 20:
            return f"only {self.n} units ({self.name}): the intervals are wide and rest on Student's t"
        return None


def _hashes(frame: "pd.DataFrame") -> npt.NDArray[np.uint64]:
    """A number for every patient that is the same in all of the patient's records."""
    import pandas as pd

    for name in ("patient_id", "record_id"):
        if name in frame.columns:
            return pd.util.hash_array(np.asarray(frame[name], dtype=object), categorize=False)
    return pd.util.hash_array(frame.index.to_numpy(dtype=np.int64))


def record_hashes(values: Any) -> npt.NDArray[np.uint64]:
    """A number for every identifier, to find those that occur twice without keeping them."""
    import pandas as pd

    return pd.util.hash_array(np.asarray(values, dtype=object), categorize=False)
