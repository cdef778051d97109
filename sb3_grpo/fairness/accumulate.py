"""Counts and sums from which every group metric follows, so that tables of any length can be read in chunks.

``accumulate(a) + accumulate(b)`` equals ``accumulate`` of both together: counts exactly, sums up to rounding. Waits are
counted in bins of ``width`` hours up to ``horizon``, a wait of exactly 0 in a bin of its own; a bin stands for its middle, so
quantiles and restricted means are within half a bin of those from the single waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.facts import WAITS, FloatArray, patient_facts, treated
from sb3_grpo.fairness.records import MISSING, check_frame, counted_rows

if TYPE_CHECKING:
    import pandas as pd

HORIZON: Final = 168.0
"""Hours up to which waits are looked at."""
WIDTH: Final = 0.1
"""Hours of one bin of waits."""
STRATA: Final = "severity_arrival"
"""Column by which groups are standardised unless another is asked for."""
ALL: Final = "all"
"""The only group or stratum where patients are not told apart."""
EVENTS: Final = ("treated", "left", "died", "observed")
"""How a wait ended; ``observed``: it had not when observation ended."""
WINDOWS: Final = {"day": 24.0, "week": 168.0}
"""Named lengths of time windows in hours."""

KEYS: Final = ("episode", "window", "group", "stratum")
_OUTSIDE: Final = -np.inf  # window of the arrivals outside all edges
_MOST_GROUPS: Final = 10_000  # combinations of attributes beyond which only those that occur are listed
_END_OF_OUTCOME: Final = {"left": "left", "died-waiting": "died", "still-waiting": "observed"}


@dataclass(frozen=True, eq=False)
class Counts:
    """Additive statistics of the counted patients.

    :param by: attributes that define the groups
    :param strata: column by which groups are standardised, None for none
    :param groups: names of the groups, in the order of tables; those without patients included where they are known
    :param windows: length of the windows or their edges, in hours; None for none
    :param horizon: hours up to which waits are looked at
    :param width: hours of a bin of waits
    :param sums: one row per (episode, window, group, stratum) that occurs, one column per fact
    :param waits: number of patients by (window, group, stratum, event, bin); None without waits
    :param missing: for every fact that cannot be had, the columns it lacks
    """

    by: tuple[str, ...]
    strata: str | None
    groups: tuple[str, ...]
    windows: str | tuple[float, ...] | None
    horizon: float
    width: float
    sums: "pd.DataFrame"
    waits: "pd.Series | None"
    missing: dict[str, str]

    def __add__(self, other: "Counts") -> "Counts":
        """The counts of both sets of patients.

        :raises ValueError: if they were counted in different ways
        """
        import pandas as pd

        for key in ("by", "strata", "windows", "horizon", "width", "missing"):
            if getattr(self, key) != getattr(other, key):
                raise ValueError(f"{key}: got {getattr(other, key)!r}, expected {getattr(self, key)!r} as in the first counts")
        groups = self.groups
        if other.groups != groups:  # one chunk knows groups that the other does not: an order that chunks do not change
            groups = tuple(sorted({*groups, *other.groups}, key=lambda name: (MISSING in name, name)))
        sums = pd.concat([self.sums, other.sums]).groupby(level=list(KEYS), sort=True).sum()
        waits = None
        if self.waits is not None and other.waits is not None:
            waits = _add_up(pd.concat([self.waits, other.waits]))
        return replace(self, groups=groups, sums=sums, waits=waits)

    def pooled(self) -> "Counts":
        """The same patients as one group, named ``"all"``."""
        import pandas as pd

        def renamed(cells: Any) -> Any:
            levels = cells.index.to_frame(index=False).assign(group=ALL)
            cells = cells.set_axis(pd.MultiIndex.from_frame(levels))
            return cells.groupby(level=list(range(cells.index.nlevels)), sort=True).sum()

        waits = None if self.waits is None else renamed(self.waits)
        return replace(self, groups=(ALL,), sums=renamed(self.sums), waits=waits)


def accumulate(
    frame: "pd.DataFrame",
    by: str | Sequence[str] = "group",
    *,
    strata: str | None = STRATA,
    windows: str | Sequence[float] | None = None,
    horizon: float = HORIZON,
    width: float = WIDTH,
) -> Counts:
    """Count the patients of a table, or of one chunk of it.

    :param frame: patient table, see :data:`sb3_grpo.fairness.records.COLUMNS`
    :param by: column, or columns whose combinations are the groups
    :param strata: column by which groups can be standardised; None, or the default where it is not there, for no strata
    :param windows: ``"day"``, ``"week"`` or ascending edges in hours: patients count in the window they arrived in
    :param horizon: hours up to which waits are looked at, a whole number of bins
    :param width: hours of a bin of waits
    :return: the counts
    :raises ValueError: naming the column or argument, its value and what is accepted
    """
    attributes = (by,) if isinstance(by, str) else tuple(by)
    if not attributes or len(set(attributes)) != len(attributes):
        raise ValueError(f"by: got {by!r}, expected different columns, at least one")
    if not (0 < width <= horizon < np.inf) or abs(horizon / width - round(horizon / width)) > 1e-6:
        raise ValueError(f"horizon, width: got {horizon}, {width}, expected a whole number of bins of some hours")
    asked_for = (strata,) if strata is not None and strata != STRATA else ()
    check_frame(frame, (*attributes, *asked_for, *(("arrival",) if windows is not None else ())))
    kept = counted_rows(frame)
    facts, missing = patient_facts(kept)
    groups, group = _labels(kept, attributes)
    strata = strata if strata in frame.columns else None
    strata_names, stratum = ((ALL,), np.zeros(len(kept), dtype=np.int64)) if strata is None else _labels(kept, (strata,))
    keys = {
        "episode": kept["episode"].to_numpy() if "episode" in kept.columns else np.zeros(len(kept), dtype=np.int64),
        "window": _windows(kept, windows),
        "group": group,
        "stratum": stratum,
    }
    names = {"group": groups, "stratum": strata_names}
    return Counts(
        by=attributes,
        strata=strata,
        groups=groups,
        windows=windows if windows is None or isinstance(windows, str) else tuple(float(edge) for edge in windows),
        horizon=float(horizon),
        width=float(width),
        sums=_sums(facts, keys, names),
        waits=None if WAITS in missing else _wait_counts(kept, keys, names, horizon, width),
        missing=missing,
    )


def add_counts(counts: Sequence[Counts]) -> Counts:
    """The counts of all chunks together.

    :param counts: at least one
    """
    if not counts:
        raise ValueError("counts: got none, expected at least one")
    return reduce(lambda a, b: a + b, counts)


def _labels(frame: "pd.DataFrame", attributes: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names of the combinations of attributes, and the number of each patient's."""
    import pandas as pd

    names: list[list[str]] = []
    codes = np.zeros(len(frame), dtype=np.int64)
    for attribute in attributes:
        values = pd.Categorical(frame[attribute])
        labels = [str(category) for category in values.categories]
        code = np.asarray(values.codes, dtype=np.int64)
        if (code < 0).any():
            code, labels = np.where(code < 0, len(labels), code), [*labels, MISSING]
        names.append(labels)
        codes = codes * len(labels) + code
    n_groups = int(np.prod([len(labels) for labels in names]))
    if n_groups <= _MOST_GROUPS and all(isinstance(frame[a].dtype, pd.CategoricalDtype) for a in attributes):
        return tuple("-".join(combination) for combination in product(*names)), codes
    present, codes = np.unique(codes, return_inverse=True)
    if not len(present):
        return (), codes
    places = np.unravel_index(present, [len(labels) for labels in names])
    each = [[labels[place] for place in column.tolist()] for labels, column in zip(names, places, strict=True)]
    return tuple("-".join(combination) for combination in zip(*each, strict=True)), codes


def _windows(frame: "pd.DataFrame", windows: str | Sequence[float] | None) -> FloatArray:
    """Begin of the window each patient arrived in, in hours."""
    if windows is None:
        return np.zeros(len(frame))
    arrival = frame["arrival"].to_numpy(dtype=np.float64)
    if isinstance(windows, str):
        if windows not in WINDOWS:
            raise ValueError(f"windows: got {windows!r}, expected one of {sorted(WINDOWS)}, or edges in hours")
        return np.floor(arrival / WINDOWS[windows]) * WINDOWS[windows]
    edges = np.asarray(windows, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or np.any(np.diff(edges) <= 0):
        raise ValueError(f"windows: got {windows!r}, expected at least two ascending edges in hours")
    place = np.searchsorted(edges, arrival, side="right") - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    return np.where(inside, edges[np.clip(place, 0, len(edges) - 1)], _OUTSIDE)


def _sums(facts: dict[str, FloatArray], keys: dict[str, Any], names: dict[str, tuple[str, ...]]) -> "pd.DataFrame":
    import pandas as pd

    sums = pd.DataFrame({**keys, **facts}).groupby(list(KEYS), sort=True).sum()
    return _named(sums, names)


def _wait_counts(
    frame: "pd.DataFrame", keys: dict[str, Any], names: dict[str, tuple[str, ...]], horizon: float, width: float
) -> "pd.Series":
    import pandas as pd

    n_bins = round(horizon / width)
    # A wait on a bin's upper edge belongs to the bin; beyond the horizon they all share the bin after the last.
    bins = np.clip(np.ceil(frame["wait"].to_numpy(dtype=np.float64) / width - 1e-9), 0, n_bins + 1).astype(np.int64)
    if "outcome" in frame.columns:
        end_of = {outcome: EVENTS.index(event) for outcome, event in _END_OF_OUTCOME.items()}
        event = frame["outcome"].astype(object).map(end_of).fillna(0).to_numpy(dtype=np.int64)
    else:
        event = np.where(treated(frame) == 1.0, 0, EVENTS.index("observed"))
    index = ["window", "group", "stratum", "event", "bin"]
    cells = pd.DataFrame({**{key: keys[key] for key in index[:3]}, "event": event, "bin": bins})
    return _named(cells.groupby(index, sort=True).size(), {**names, "event": EVENTS})


def _named(cells: Any, names: dict[str, tuple[str, ...]]) -> Any:
    """Replace numbers by names in the index."""
    import pandas as pd

    levels = cells.index.to_frame(index=False)
    for key, labels in names.items():
        levels[key] = np.asarray([*labels, ""], dtype=object)[levels[key].to_numpy(dtype=np.int64)]
    cells.index = pd.MultiIndex.from_frame(levels)
    return cells.sort_index()


def _add_up(waits: "pd.Series") -> "pd.Series":
    return waits.groupby(level=list(range(waits.index.nlevels)), sort=True).sum()
