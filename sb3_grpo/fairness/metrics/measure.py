"""From sums to metrics, for groups, for strata of groups and for windows alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sb3_grpo.fairness.accumulate import Counts
from sb3_grpo.fairness.facts import WAITS
from sb3_grpo.fairness.metrics.definitions import DEFINITIONS, WAIT_STATISTICS
from sb3_grpo.fairness.metrics.pooled import ratio
from sb3_grpo.fairness.metrics.waits import binned_statistics

if TYPE_CHECKING:
    import pandas as pd


class Measured(NamedTuple):
    """Metrics of several sets of patients.

    :param values: one row per set, one column per metric; NaN where nothing, or not enough, was measured
    :param patients: the number of patients behind each value
    """

    values: "pd.DataFrame"
    patients: "pd.DataFrame"


def measure(counts: Counts, over: Sequence[str], rows: Any, min_patients: int = 1) -> Measured:
    """Metrics by some of the keys ``window``, ``group`` and ``stratum``.

    :param counts: what was counted
    :param over: the keys that define the sets
    :param rows: the sets, in the order of the table: an index, names or tuples of names; those without patients are NaN
    :param min_patients: a metric of fewer patients is NaN
    """
    import pandas as pd

    level: Any = list(over) if len(over) > 1 else over[0]
    sums = counts.sums.groupby(level=level).sum().reindex(rows, fill_value=0.0)
    if "needing" in sums:
        sums["others"] = sums["n"] - sums["needing"]
    if "needing_in_time" in sums:
        sums["others_in_time"] = sums["in_time"] - sums["needing_in_time"]
    waits = _waits(counts, level, sums.index)
    values, patients = {}, {}
    for name, definition in DEFINITIONS.items():
        if any(fact in counts.missing for fact in definition.needs):
            continue
        behind = sums[definition.patients].to_numpy(dtype=np.int64)
        if WAITS in definition.needs:
            value = waits[definition.top].to_numpy(dtype=np.float64)
        else:
            value = ratio(sums[definition.top], sums[definition.bottom])
        patients[name] = behind
        values[name] = np.where(behind >= max(min_patients, 1), value, np.nan)
    return Measured(pd.DataFrame(values, index=sums.index), pd.DataFrame(patients, index=sums.index))


def _waits(counts: Counts, level: Any, rows: "pd.Index") -> "pd.DataFrame":
    """Wait statistics, one row per set of patients."""
    import pandas as pd

    found: dict[Any, Any] = {}
    if counts.waits is not None:
        keys = [level] if isinstance(level, str) else level
        pooled = counts.waits.groupby(level=[*keys, "event", "bin"]).sum()
        for key, cell in pooled.groupby(level=level):
            found[key] = binned_statistics(cell, counts.horizon, counts.width)
    nothing = (np.nan,) * len(WAIT_STATISTICS)
    return pd.DataFrame([found.get(key, nothing) for key in rows], index=rows, columns=list(WAIT_STATISTICS))
