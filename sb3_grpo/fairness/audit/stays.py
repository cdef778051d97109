"""Stays by unit and group: sums that add up over the chunks of a log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sb3_grpo.fairness.metrics import FloatArray
from sb3_grpo.fairness.records import MISSING, counted_rows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Sums:
    """Hours of stay and number of known stays.

    :param table: by unit and group, columns ``sum`` and ``count``
    """

    table: "pd.DataFrame"

    def arrays(self, groups: Sequence[str], most: int) -> tuple[FloatArray, FloatArray]:
        """Hours and stays by unit and group, (U, G) each; units beyond ``most`` are dealt into that many batches.

        :param groups: names of the groups
        :param most: largest number of rows
        """
        arrays = []
        for name in ("sum", "count"):
            table = self.table[name].unstack("group").reindex(columns=list(groups)).fillna(0.0)
            batches = table.groupby(np.arange(len(table)) % most).sum()
            arrays.append(batches.to_numpy(dtype=np.float64))
        return arrays[0], arrays[1]


def stay_sums(frame: "pd.DataFrame", by: Sequence[str], unit: str) -> Sums:
    """The stays of a chunk.

    :param frame: patients
    :param by: attributes that form the groups, categories
    :param unit: column with the unit
    """
    kept = counted_rows(frame)
    keys = [kept[unit].rename("unit"), *(kept[name] for name in by)]
    table = kept["service_time"].groupby(keys, observed=True, dropna=False).agg(["sum", "count"])
    levels = table.index.to_frame(index=False)
    named = [levels[name].astype(object).where(levels[name].notna(), MISSING).astype(str) for name in by]
    group = named[0]
    for more in named[1:]:
        group = group + "-" + more
    table.index = [levels["unit"], group.rename("group")]
    return Sums(table)


def add_sums(one: Sums, other: Sums) -> Sums:
    """The stays of both."""
    import pandas as pd

    return Sums(pd.concat([one.table, other.table]).groupby(level=["unit", "group"]).sum())
