"""Rows that cannot be used: refused at once, or left out and counted, as the user says."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.audit.files import RecordFile, RecordsError

_EXAMPLES: Final = 5  # bad rows that are described


@dataclass
class Problems:
    """The bad rows of one file.

    :param file: the file
    :param most: rows that may be left out; with more the file is refused, with 0 at the first
    """

    file: RecordFile
    most: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    n_rows: int = 0

    def check(self, rows: npt.NDArray[np.int64], faults: "list[Fault]") -> npt.NDArray[np.bool_]:
        """Which rows of a chunk can be used.

        :param rows: (N,) numbers of the rows in the file
        :param faults: what is wrong with them
        :return: (N,)
        :raises RecordsError: if more rows are bad than may be
        """
        bad = np.zeros(len(rows), dtype=np.bool_)
        for fault in faults:
            fresh = fault.bad & ~bad
            if not fresh.any():
                continue
            bad |= fault.bad
            self.left_out[f"{fault.column}: not {fault.accepted}"] += int(fresh.sum())
            if len(self.examples) < _EXAMPLES:
                self.examples.append(self._describe(int(rows[np.argmax(fresh)]), fault))
        self.n_rows += int(bad.sum())
        if self.n_rows > self.most:
            more = f"; {self.n_rows} bad rows so far, at most {self.most} may be left out" if self.most else ""
            raise RecordsError(f"{self.examples[0]}{more}")
        return ~bad

    def _describe(self, row: int, fault: "Fault") -> str:
        """Where it is, what stands there, and what is accepted."""
        place = self.file.place(row)
        got = fault.shown or repr(self.file.cell(row, fault.column))
        return f"{self.file.name}, {place}, column {fault.column!r}: got {got}; accepted: {fault.accepted}"

    def sentences(self) -> list[str]:
        """What was left out and why, for reports."""
        if not self.n_rows:
            return []
        reasons = "; ".join(f"{reason} ({n})" for reason, n in self.left_out.most_common())
        return [f"{self.n_rows} bad rows were left out: {reasons}. First: {self.examples[0]}."]


@dataclass(frozen=True)
class Fault:
    """Cells of one column that are wrong in the same way.

    :param column: name of the column in the file
    :param bad: (N,) rows of the chunk
    :param accepted: what would have been accepted
    :param shown: what stands there, if it is not one cell
    """

    column: str
    bad: npt.NDArray[np.bool_]
    accepted: str
    shown: str = ""
