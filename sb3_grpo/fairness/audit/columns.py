"""What the columns of a hospital's own log are called, and how their cells are to be read: from options or a small YAML file.

A *field* is a column of the patient table (:data:`sb3_grpo.fairness.records.COLUMNS`), or any other attribute by which groups,
strata or clusters shall be made. A field that is not described is read from the column of its own name, if there is one.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from hospital_gym.scenario_files import read_yaml

HOURS_PER_UNIT: Final = {"seconds": 1 / 3600, "minutes": 1 / 60, "hours": 1.0, "days": 24.0}
"""Units of time that a column may be in."""

MISSING_CELLS: Final = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "<NA>")
"""What stands for a missing cell unless the map says otherwise."""

NUMBERS: Final = ("age", "demand", "benefit", "cost")
TIMES: Final = ("arrival",)
DURATIONS: Final = ("wait", "target_wait", "service_time")
YES_NO: Final = ("treated", "success", "need", "counted", "matched")
CATEGORIES: Final = ("age_band", "sex", "quintile", "group", "severity_arrival", "severity_decision", "outcome")
IDS: Final = ("record_id", "patient_id")
FIELDS: Final = (*IDS, "episode", *TIMES, *NUMBERS, *DURATIONS, *YES_NO, *CATEGORIES)
"""Fields with a meaning of their own: those of the patient table, and ``record_id``, which no two rows may share."""

_OPTION: Final = re.compile(
    r"^(?:from (?P<start>.+) to (?P<end>.+)|(?P<column>.+?)(?: in (?P<unit>seconds|minutes|hours|days))?)$"
)


@dataclass(frozen=True)
class Source:
    """Where a field comes from.

    :param column: its column; None for a difference of two times, or for the same value in every row
    :param start: column with the moment at which a duration begins
    :param end: column with the moment at which it ends
    :param otherwise: column with the moment at which it ends where ``end`` is missing: left, died, transferred
    :param unit: unit of a time given as a number, one of :data:`HOURS_PER_UNIT`
    :param factor: what numbers are multiplied by, for instance -1
    :param format: format of time-stamps, as in Python's strptime; default: ISO 8601
    :param values: what cells mean, by their text
    :param value: the same value for every row
    """

    column: str | None = None
    start: str | None = None
    end: str | None = None
    otherwise: str | None = None
    unit: str | None = None
    factor: float = 1.0
    format: str | None = None
    values: Mapping[str, Any] | None = None
    value: Any = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(name for name in (self.column, self.start, self.end, self.otherwise) if name is not None)


@dataclass(frozen=True)
class ColumnMap:
    """How a file of records is to be read.

    :param fields: sources by field
    :param keep: values of the rows that are looked at, by column; all rows without
    :param age_bands: limits of the age bands in years, ascending
    :param labels: what a report calls metrics, by their names
    :param observed_until: moment at which observation ended, for patients without an end; None if unknown
    :param missing: cells that mean "not recorded"
    :param delimiter: what separates cells
    :param decimal: decimal point
    :param encoding: encoding of the text
    """

    fields: Mapping[str, Source] = field(default_factory=dict)
    keep: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    age_bands: tuple[float, ...] = (18.0, 65.0)
    labels: Mapping[str, str] = field(default_factory=dict)
    observed_until: str | None = None
    missing: tuple[str, ...] = MISSING_CELLS
    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"

    def with_fields(self, more: Mapping[str, Source]) -> "ColumnMap":
        """The same with other sources for some fields."""
        return replace(self, fields={**self.fields, **more})

    def with_kept(self, more: Mapping[str, tuple[str, ...]]) -> "ColumnMap":
        """The same with further conditions on rows."""
        return replace(self, keep={**self.keep, **more})


def read_map(path: str | Path) -> ColumnMap:
    """Read a map from a YAML file.

    :param path: a file with the key ``columns`` and any other parameter of :class:`ColumnMap`
    :raises ValueError: naming the file, the key, the value and what is accepted
    """
    if not Path(path).is_file():
        raise ValueError(f"got {str(path)!r}, expected a YAML file that exists")
    content = read_yaml(str(path))
    try:
        return map_of(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def map_of(content: Mapping[str, Any]) -> ColumnMap:
    """A map from plain dictionaries, see :func:`read_map`.

    :param content: the content of the YAML file
    :raises ValueError: naming the key, the value and what is accepted
    """
    known = ("columns", *(f.name for f in fields(ColumnMap) if f.name != "fields"))
    for key in content:
        if key not in known:
            raise ValueError(f"unknown key {key!r}{closest(str(key), known)}; known keys are {', '.join(known)}")
    options: dict[str, Any] = {key: value for key, value in content.items() if key not in ("columns", "keep", "missing")}
    for key in ("delimiter", "decimal", "encoding", "observed_until"):
        if key in options:
            options[key] = str(options[key])
    if "age_bands" in options:
        options["age_bands"] = _age_bands(options["age_bands"])
    if "labels" in options:
        options["labels"] = _strings("labels", options["labels"])
    if "missing" in content:
        options["missing"] = tuple(_text(cell) for cell in _as_list(content["missing"]))
    keep = _dictionary("keep", content.get("keep", {}))
    sources = _dictionary("columns", content.get("columns", {}))
    return ColumnMap(
        fields={str(name): _source(str(name), value) for name, value in sources.items()},
        keep={str(name): tuple(_text(cell) for cell in _as_list(value)) for name, value in keep.items()},
        **options,
    )


def column_option(text: str) -> tuple[str, Source]:
    """A source as written on the command line.

    :param text: ``FIELD=COLUMN``, ``FIELD=COLUMN in minutes`` or ``FIELD=from COLUMN to COLUMN``
    :return: the field and its source
    :raises ValueError: if it is none of these
    """
    name, separator, rest = text.partition("=")
    match = _OPTION.match(rest.strip())
    if not separator or not name.strip() or match is None:
        raise ValueError(f"got {text!r}, expected FIELD=COLUMN, FIELD=COLUMN in minutes or FIELD=from COLUMN to COLUMN")
    found = {key: value.strip() for key, value in match.groupdict().items() if value is not None}
    return name.strip(), _source(name.strip(), found)


def keep_option(text: str) -> tuple[str, tuple[str, ...]]:
    """A condition on rows as written on the command line, ``COLUMN=VALUE``.

    :raises ValueError: if it has another form
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ValueError(f"got {text!r}, expected COLUMN=VALUE")
    return name.strip(), (value.strip(),)


def closest(name: str, names: Sequence[str]) -> str:
    """A hint to a name that was probably meant, as the end of a sentence; empty if none is near."""
    folded = {other.casefold(): other for other in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f" (perhaps {folded[near[0]]!r} was meant)" if near else ""


def _source(name: str, value: Any) -> Source:
    if isinstance(value, str):
        return Source(column=value)
    given = {("start" if key == "from" else "end" if key == "to" else str(key)): v for key, v in _items(name, value)}
    accepted = ("column", "from", "to", "otherwise", "unit", "factor", "format", "values", "value")
    known = {f.name for f in fields(Source)}
    for key in given:
        if key not in known:
            raise ValueError(
                f"columns: {name}: unknown key {key!r}{closest(key, accepted)}; known keys are {', '.join(accepted)}"
            )
    for key in ("column", "start", "end", "otherwise", "format"):
        if key in given:
            given[key] = str(given[key])
    if given.get("unit") is not None and given["unit"] not in HOURS_PER_UNIT:
        raise ValueError(f"columns: {name}: unit: got {given['unit']!r}, expected one of {', '.join(HOURS_PER_UNIT)}")
    if isinstance(given.get("factor", 1.0), bool) or not isinstance(given.get("factor", 1.0), (int, float)):
        raise ValueError(f"columns: {name}: factor: got {given['factor']!r}, expected a number")
    if "values" in given:
        given["values"] = {_text(k): v for k, v in _dictionary(f"columns: {name}: values", given["values"]).items()}
    source = Source(**given)
    ways = [source.column is not None, source.start is not None or source.end is not None, source.value is not None]
    if sum(ways) != 1 or (source.start is None) != (source.end is None) or (source.otherwise and source.start is None):
        raise ValueError(
            f"columns: {name}: got {dict(_items(name, value))!r}, expected one of: column, from and to (then also "
            "otherwise), value"
        )
    if source.start is not None and name not in DURATIONS:
        raise ValueError(f"columns: {name}: from and to are for {', '.join(DURATIONS)}, expected column or value")
    return source


def _items(name: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"columns: {name}: got {value!r}, expected the name of a column or a mapping")
    return [(str(key), item) for key, item in value.items()]


def _dictionary(key: str, value: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key}: got {value!r}, expected a mapping")
    return dict(value)


def _strings(key: str, value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in _dictionary(key, value).items()}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _text(cell: Any) -> str:
    """A cell as it stands in a file: YAML reads 1 as a number, yes as True and nothing as None."""
    if isinstance(cell, bool):
        raise ValueError(f"got the truth value {cell}, expected the text of a cell: put yes, no, true and false in quotes")
    return "" if cell is None else str(cell)


def _age_bands(value: Any) -> tuple[float, ...]:
    limits = _as_list(value)
    numbers = all(isinstance(limit, (int, float)) and not isinstance(limit, bool) for limit in limits)
    if not limits or not numbers or limits[0] <= 0 or any(b <= a for a, b in pairwise(limits)):
        raise ValueError(f"age_bands: got {value!r}, expected ascending limits in years, each above 0, such as [18, 65]")
    return tuple(float(limit) for limit in limits)
