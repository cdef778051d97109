"""From cells to numbers, hours, yes or no, and categories. Every function says which cells it could not read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.audit.columns import HOURS_PER_UNIT, Source

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ORIGIN: Final = "1970-01-05"
"""A Monday: hours since then, so that weeks begin on Mondays."""

YES: Final = ("true", "yes", "y", "t", "1", "1.0")
NO: Final = ("false", "no", "n", "f", "0", "0.0")


@dataclass(frozen=True)
class Read:
    """Cells that were read.

    :param values: (N,), missing ones as NaN; for categories a :class:`pandas.Categorical`
    :param bad: (N,) cells that are there and cannot be read
    :param accepted: what would have been accepted, in words
    """

    values: Any
    bad: BoolArray
    accepted: str


def numbers(cells: "pd.Series", source: Source, decimal: str = ".") -> Read:
    """Cells as numbers.

    :param cells: numbers or texts
    :param source: values by text, and the factor
    :param decimal: decimal point
    """
    accepted = "a number" if not source.values else f"a number, or one of {', '.join(source.values)}"
    if source.values:
        values, bad = _mapped(cells, source.values, lambda text: _number(text, decimal))
    elif cells.dtype.kind in "iufb":
        values, bad = cells.to_numpy(dtype=np.float64), np.zeros(len(cells), dtype=np.bool_)
    else:
        values, bad = _mapped(cells, {}, lambda text: _number(text, decimal))
    bad = bad | np.isinf(values)
    return Read(values * source.factor, bad, accepted)


def _number(text: str, decimal: str) -> float:
    try:
        return float(text.strip().replace(decimal, ".")) if "_" not in text else np.nan
    except ValueError:
        return np.nan


def _mapped(cells: "pd.Series", values: Mapping[str, Any], otherwise: Callable[[str], float]) -> tuple[FloatArray, BoolArray]:
    """Numbers by the text of cells; each different text is looked at once."""
    import pandas as pd

    categories = pd.Categorical(cells)
    found, readable = [], []
    for category in categories.categories:
        text = _plain(category)
        # In a map a missing value is null; a text that is not in it is read as a number.
        value = values.get(text, values.get(text.strip(), _ABSENT))
        number = otherwise(text) if value is _ABSENT else np.nan if value is None else _as_float(value)
        found.append(number)
        readable.append(not np.isnan(number) or value is None or text.strip() == "")
    codes = np.asarray(categories.codes, dtype=np.int64)
    missing = values.get("", None)
    table = np.array([*found, np.nan if missing is None else _as_float(missing)], dtype=np.float64)
    return table[codes], ~np.array([*readable, True], dtype=np.bool_)[codes]


_ABSENT: Final = object()


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _plain(category: Any) -> str:
    """The text of a cell; a whole number without a point, as it stood in the file."""
    if isinstance(category, float) and category == int(category):
        return str(int(category))
    return str(category)


def durations(cells: "pd.Series", source: Source, decimal: str = ".") -> Read:
    """Cells as hours, from numbers with a unit."""
    read = numbers(cells, source, decimal)
    unit = source.unit or "hours"
    return Read(read.values * HOURS_PER_UNIT[unit], read.bad, f"{read.accepted} of {unit}")


def moments(cells: "pd.Series", source: Source, decimal: str = ".") -> Read:
    """Cells as hours since :data:`ORIGIN` if they are time-stamps, else as hours since whatever the numbers count from.

    :param cells: time-stamps (ISO 8601, or ``source.format``) or numbers with ``source.unit``, hours by default
    """
    import pandas as pd

    if cells.dtype.kind in "iuf" and source.format is None:
        return durations(cells, source, decimal)
    accepted = (
        f"a time-stamp like {source.format!r}" if source.format else "a time-stamp such as 2024-03-05 07:30, or a number"
    )
    there = cells.notna().to_numpy()
    if cells.dtype.kind == "M":
        stamps = cells
    else:
        text = cells.astype(str).where(there, None)
        try:
            stamps = pd.to_datetime(text, format=source.format or "ISO8601", errors="coerce")
        except ValueError:  # with and without a time zone, or in several: the clock is not one
            zones = pd.to_datetime(text, format=source.format or "ISO8601", errors="coerce", utc=True)
            naive = text.str.contains(r"(?:[Zz]|[+-]\d\d:?\d\d)$", regex=True) == text.iloc[0].endswith(("Z", "z"))
            return Read(_since_origin(zones), ~naive.to_numpy(dtype=np.bool_), "all time-stamps in one time zone")
    bad = there & stamps.isna().to_numpy()
    if bad.any() and source.format is None and cells.dtype.kind != "M":  # a column of numbers with one text in it
        as_numbers = durations(cells, source, decimal)
        if as_numbers.bad.sum() < bad.sum():
            return Read(as_numbers.values, as_numbers.bad, as_numbers.accepted)
    return Read(_since_origin(stamps), bad, accepted)


def moment(text: str) -> float:
    """One moment in the same hours as :func:`moments`.

    :raises ValueError: if it is neither a time-stamp nor a number
    """
    import pandas as pd

    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(_since_origin(pd.Series(pd.to_datetime([text], format="ISO8601")))[0])
    except ValueError:
        raise ValueError(f"got {text!r}, expected a time-stamp such as 2024-03-05 07:30, or a number of hours") from None


def _since_origin(stamps: "pd.Series") -> FloatArray:
    import pandas as pd

    if getattr(stamps.dt, "tz", None) is not None:
        stamps = stamps.dt.tz_convert("UTC").dt.tz_localize(None)
    hours = (stamps - pd.Timestamp(ORIGIN)) / pd.Timedelta(hours=1)
    return np.asarray(hours, dtype=np.float64)


def yes_no(cells: "pd.Series", source: Source) -> Read:
    """Cells as 1 and 0."""
    words = {**dict.fromkeys(YES, 1.0), **dict.fromkeys(NO, 0.0)}

    def default(text: str) -> float:
        return words.get(text.strip().casefold(), np.nan)

    accepted = "yes or no (true, false, 1, 0)" if not source.values else f"one of {', '.join(map(repr, source.values))}"
    if not source.values:
        return Read(*_mapped(cells, {}, default), accepted)
    values = {text: None if value is None else default(str(value)) for text, value in source.values.items()}
    return Read(*_mapped(cells, values, lambda text: np.nan), accepted)


def categories(
    cells: "pd.Series", source: Source, allowed: Sequence[str] | None = None, aliases: Mapping[str, str] | None = None
) -> Read:
    """Cells as categories.

    :param cells: texts
    :param source: categories by text; others keep their text, but where only some are allowed
    :param allowed: the categories that there are; None for whatever occurs
    :param aliases: further names of categories, in small letters
    """
    import pandas as pd

    given = pd.Categorical(cells)
    known = {name.casefold(): name for name in allowed or ()} | dict(aliases or {})
    labels: list[str | None] = []
    readable = []
    for category in given.categories:
        text = _plain(category).strip()
        label: Any = text
        if source.values and text in source.values:
            label = source.values[text]
            label = None if label is None else str(label)
        label = None if not label else known.get(label.casefold(), label)
        labels.append(label)
        readable.append(label is None or allowed is None or label in allowed)
    missing = (source.values or {}).get("")
    labels.append(None if missing is None else known.get(str(missing).casefold(), str(missing)))
    names = list(allowed) if allowed is not None else sorted({label for label in labels if label is not None})
    place = {name: number for number, name in enumerate(names)}
    table = np.array([place.get(label, -1) if label is not None else -1 for label in labels], dtype=np.int64)
    codes = np.asarray(given.codes, dtype=np.int64)
    values = pd.Categorical.from_codes(table[codes], categories=pd.Index(names, dtype=object))
    accepted = "anything" if allowed is None else f"one of {', '.join(names)}, or a map of values to them"
    return Read(values, ~np.array([*readable, True], dtype=np.bool_)[codes], accepted)
