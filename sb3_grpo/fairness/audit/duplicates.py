"""Records that occur twice, found in a file of any length with eight bytes for each."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.audit.files import RecordsError
from sb3_grpo.fairness.audit.log import PatientLog
from sb3_grpo.fairness.audit.units import record_hashes

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Identifiers:
    """The identifiers met so far.

    :param log: the file they are from
    """

    log: PatientLog
    _hashes: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    _rows: list[npt.NDArray[np.uint32]] = field(default_factory=list)

    def add(self, frame: "pd.DataFrame") -> None:
        """Take note of the records of a chunk."""
        self._hashes.append(record_hashes(frame["record_id"]))
        self._rows.append(frame.index.to_numpy(dtype=np.uint32))

    def check(self) -> None:
        """Refuse a file in which an identifier occurs twice.

        :raises RecordsError: naming the identifier and both lines
        """
        hashes, rows = np.concatenate(self._hashes), np.concatenate(self._rows)
        self._hashes, self._rows = [], []
        order = np.argsort(hashes, kind="stable")
        twice = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if not len(twice):
            return
        column = self.log.fields["record_id"].column
        file = self.log.file
        # Different identifiers may, once in a million files, have the same number: look at the cells themselves.
        for place in twice[np.argsort(rows[order[twice + 1]], kind="stable")][:10]:
            first, second = (int(rows[order[p]]) for p in (place, place + 1))
            one, other = (file.cell(row, str(column)) for row in (first, second))
            if one == other:
                raise RecordsError(
                    f"{file.name}, {file.place(second)}, column {column!r}: got {other!r}, which stands in "
                    f"{file.place(first)} too; accepted: one row for every record ({len(twice)} rows repeat one)"
                )
