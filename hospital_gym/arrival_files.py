"""Recorded arrivals: reading hourly counts or time-stamps from a CSV file."""

import csv
import gzip
import io
import math
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from hospital_gym.records import SEVERITIES

HOURS_PER_WEEK: Final = 168

ScalarType = TypeVar("ScalarType", bound=np.generic)

ATTRIBUTES: Final = ("age", "sex", "severity", "service_hours")
"""Optional columns of a file of time-stamps."""

COUNT_COLUMNS: Final = ("arrivals", "count")
"""The column of a file of hourly counts that holds the counts has one of these names, in any case."""

# Columns that only the tables of the MIMIC databases have; their dates are shifted by a different offset for every patient.
_SHIFTED_COLUMNS: Final = ("subject_id", "hadm_id", "icustay_id")
_LONGEST_YEARS: Final = 20
_LARGEST_HOURS: Final = 1e7
_LARGEST_COUNT: Final = 10_000
_SEX_CODES: Final = {"f": 0, "female": 0, "0": 0, "m": 1, "male": 1, "1": 1}
_SEVERITY_CODES: Final = {name: code for code, severity in enumerate(SEVERITIES) for name in (severity, str(code))}
_FORMATS: Final = (
    "hourly counts (a column 'Arrivals' or 'Count', with 'Date' and 'Hour' or one row for every hour in order), or "
    f"time-stamps (a column 'arrival_time' in hours or ISO date-times, and any of {', '.join(map(repr, ATTRIBUTES))})"
)


@dataclass(frozen=True, eq=False)
class ArrivalFile:
    """
    The content of a file of recorded arrivals; made by :func:`read_arrivals`.

    The file's clock counts hours; its hour 0 is a Monday 00:00: that of the first date's week or, in a file without dates, by
    convention the hour called 0 (time-stamps) or the first row (counts). All arrays are read-only.

    :param path: Where it was read from.
    :param first_hour: First hour covered, on the file's clock. Time-stamps cover whole days: that of the first arrival to
        that of the last.
    :param n_hours: Number of hours covered.
    :param monday: Date-time of the file's hour 0; ``None`` in a file without dates.
    :param counts: Arrivals in each hour, shape (n_hours,); ``None`` in a file of time-stamps.
    :param times: Hours on the file's clock, ascending, shape (n,); ``None`` in a file of counts.
    :param age: Years, shape (n,), NaN where the file has none; likewise the next three. Empty in a file of counts.
    :param sex: 0 female, 1 male, -1 where the file has none.
    :param severity: Index into ``records.SEVERITIES``, -1 where the file has none.
    :param service_hours: Hours of stay in the right bed, NaN where the file has none.
    :param ignored_columns: Columns of a file of counts that play no role.
    """

    path: str
    first_hour: int
    n_hours: int
    monday: datetime | None
    counts: NDArray[np.int64] | None
    times: NDArray[np.float64] | None
    age: NDArray[np.float64]
    sex: NDArray[np.int8]
    severity: NDArray[np.int8]
    service_hours: NDArray[np.float64]
    ignored_columns: tuple[str, ...] = ()

    @property
    def arrivals_per_day(self) -> float:
        """Mean arrivals a day over the hours covered."""
        recorded = self.times if self.counts is None else self.counts
        assert recorded is not None
        total = len(recorded) if self.counts is None else int(recorded.sum())
        return 24.0 * total / self.n_hours


def read_arrivals(path: str | Path) -> ArrivalFile:
    """
    Read recorded arrivals from a ``.csv`` or ``.csv.gz`` file with a header. Column names may be in any case.

    *Hourly counts*: a column ``Arrivals`` or ``Count`` with a whole number per hour. With ``Date`` (ISO) and ``Hour`` (0 to
    23) every hour from the first to the last must be there once; with ``Hour`` alone the hours must follow each other round
    the clock; with neither, every row is the next hour. Other columns are ignored (and named in the result).

    *Time-stamps*: a column ``arrival_time``, ascending, either hours or ISO date-times on the local clock, not both; optional
    columns ``age`` (0 to 120), ``sex`` (F, M, female, male, 0 female, 1 male), ``severity`` (by name, or 0 to 2) and
    ``service_hours`` (> 0), whose cells may be blank: the simulator then draws the value. No other column.

    Empty lines are accepted at the end only: anywhere else one may stand for an hour or an arrival that is missing.

    :param path: The file, text in UTF-8.
    :return: Its content, checked.
    :raises ValueError: If the file is in neither format, or a cell is not acceptable: the message names file, line, column and
        value. Also if dates are not on one calendar, as in de-identified databases that shift each patient's dates.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"arrivals: got {path!r}; accepted: the path of a .csv or .csv.gz file.")
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"arrivals: no file {str(path)!r}; accepted: a .csv or .csv.gz file of {_FORMATS}.")
    rows = _rows(_text(path), path.name)
    _, header = next(rows, (1, []))
    columns = [name.strip().lower() for name in header]
    if len(set(columns)) < len(columns):
        raise ValueError(f"{path.name}, line 1: a column name occurs twice: {', '.join(header)}.")
    shifted = [name for name in _SHIFTED_COLUMNS if name in columns]
    if shifted:
        raise _shifted_dates(path.name, f"column {shifted[0]!r} marks it as a table of the MIMIC database, in which")
    table = _Table(path, columns, header, rows)
    count_columns = [name for name in COUNT_COLUMNS if name in columns]
    if "arrival_time" in columns and not count_columns:
        return _read_times(table)
    if len(count_columns) == 1 and "arrival_time" not in columns:
        return _read_counts(table, count_columns[0])
    raise ValueError(f"{path.name}, line 1: got the columns {', '.join(header) or '(none)'}; accepted: {_FORMATS}.")


def _text(path: Path) -> str:
    """The file's text, without a byte-order mark."""
    packed = path.name.lower().endswith(".csv.gz")
    if not packed and not path.name.lower().endswith(".csv"):
        raise ValueError(f"arrivals: got {str(path)!r}; accepted: the path of a .csv or .csv.gz file.")
    content = path.read_bytes()
    if packed:
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path.name}: got a file that cannot be unpacked ({error}); accepted: a whole gzip file."
            ) from None
    return decode_text(content, path.name).removeprefix("\ufeff")


def decode_text(content: bytes, name: str) -> str:
    """
    Text that must be in UTF-8.

    :param content: A file's content.
    :param name: What to call the file in the message.
    :return: The text.
    :raises ValueError: If it is in another encoding, naming the file, the line and the byte.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name}, line {line}: got the byte {content[error.start]:#04x}; accepted: text in UTF-8.") from None


def _rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row; an empty line is an error unless only empty lines follow."""
    reader = csv.reader(io.StringIO(text, newline=""))
    width, empty = None, None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row) and len(row) < 2:
                empty = empty or reader.line_num
                continue
            if empty:
                raise ValueError(
                    f"{name}, line {empty}: got an empty line; accepted: empty lines at the end of the file only "
                    "(here an hour or an arrival may be missing)."
                )
            width = width or len(row)
            if len(row) != width:
                raise ValueError(f"{name}, line {reader.line_num}: got {len(row)} cells; accepted: {width}, as in the header.")
            yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise ValueError(
            f"{name}, line {reader.line_num}: got a row that is not CSV ({error}); accepted: {_FORMATS}."
        ) from None


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: list[str]
    header: list[str]
    rows: Iterator[tuple[int, list[str]]]

    def error(self, line: int, column: str, value: object, accepted: str) -> ValueError:
        name = self.header[self.columns.index(column)].strip()
        return ValueError(f"{self.path.name}, line {line}, column {name!r}: got {value!r}; accepted: {accepted}.")

    def number(self, line: int, column: str, text: str, accepted: str, valid: Callable[[float], bool]) -> float:
        """The number in a cell; an error if it is none (missing, not finite) or not ``valid``."""
        value = _number(text)
        if value is None or not valid(value):
            raise self.error(line, column, text, accepted)
        return value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _date_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _monday(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, moment.day) - timedelta(days=moment.weekday())


def _hours_between(begin: datetime, end: datetime) -> float:
    return (end - begin) / timedelta(hours=1)


def _shifted_dates(name: str, reason: str) -> ValueError:
    return ValueError(
        f"{name}: {reason} every patient's dates are shifted by a different amount: arrivals of different patients are not on "
        f"one calendar and their order means nothing. Accepted: arrivals on the hospital's own calendar, as {_FORMATS}. "
        "Without such a record, draw arrivals from a profile and take only stays and attributes from these data."
    )


def _frozen(values: NDArray[ScalarType]) -> NDArray[ScalarType]:
    values.flags.writeable = False
    return values


# --- hourly counts ---


def _read_counts(table: _Table, column: str) -> ArrivalFile:
    dated, clocked = "date" in table.columns, "hour" in table.columns
    if dated and not clocked:
        raise ValueError(f"{table.path.name}, line 1: column 'Date' without 'Hour'; accepted: {_FORMATS}.")
    at_count, at_hour = table.columns.index(column), table.columns.index("hour") if clocked else -1
    at_date = table.columns.index("date") if dated else -1
    counts: list[int] = []
    first_hour, monday, due = 0, None, 0
    accepted = f"a whole number from 0 to {_LARGEST_COUNT}"
    for line, row in table.rows:
        value = table.number(line, column, row[at_count], accepted, lambda x: 0 <= x <= _LARGEST_COUNT and x == int(x))
        if clocked:
            hour = int(table.number(line, "hour", row[at_hour], "a whole number from 0 to 23", lambda x: x in range(24)))
            if dated:
                date = _date_time(row[at_date])
                if date is None or date.tzinfo is not None or date.time() != datetime.min.time():
                    raise table.error(line, "date", row[at_date], "an ISO date such as 2024-03-31")
                monday = monday or _monday(date)
                hour += round(_hours_between(monday, date))
            if not counts:
                first_hour = due = hour
            _check_consecutive(table, line, hour, due, monday)
            due += 1
        counts.append(int(value))
    if not counts:
        raise ValueError(f"{table.path.name}: holds no rows; accepted: one row for every hour.")
    return ArrivalFile(
        path=str(table.path),
        first_hour=first_hour,
        n_hours=len(counts),
        monday=monday,
        counts=_frozen(np.array(counts, dtype=np.int64)),
        times=None,
        **_arrays(0, {}),
        ignored_columns=tuple(
            name.strip() for name, key in zip(table.header, table.columns, strict=True) if key not in (column, "date", "hour")
        ),
    )


def _check_consecutive(table: _Table, line: int, hour: int, due: int, monday: datetime | None) -> None:
    """A missing or repeated hour would silently move all that follow; so do clocks that change for summer time."""
    if monday is None:
        if hour % 24 != due % 24:
            raise table.error(line, "hour", hour, f"{due % 24}, the hour after the row before (every hour once, in order)")
    elif hour != due:
        fault = "an hour is missing before this one" if hour > due else "an hour that was there before, or not in order"
        got, expected = (str(monday + timedelta(hours=h)) for h in (hour, due))
        hint = "every hour once, in order, also where the clock was changed"
        raise table.error(line, "hour", got, f"{expected} ({hint}); this is {fault}")


# --- time-stamps ---


def _read_times(table: _Table) -> ArrivalFile:
    unknown = [name for name, key in zip(table.header, table.columns, strict=True) if key not in ("arrival_time", *ATTRIBUTES)]
    if unknown:
        raise ValueError(
            f"{table.path.name}, line 1: unknown column {', '.join(map(repr, unknown))}; "
            f"accepted: arrival_time, {', '.join(ATTRIBUTES)}."
        )
    lines: list[int] = []
    stamps: list[float | datetime] = []
    attributes: dict[str, list[float]] = {name: [] for name in ATTRIBUTES if name in table.columns}
    for line, row in table.rows:
        cells = dict(zip(table.columns, row, strict=True))
        stamps.append(_stamp(table, line, cells["arrival_time"], stamps))
        lines.append(line)
        for name, values in attributes.items():
            values.append(_attribute(table, line, name, cells[name]))
    if not stamps:
        raise ValueError(f"{table.path.name}: holds no rows; accepted: one row for every arrival.")
    monday, times = _file_clock(table.path.name, stamps)
    unsorted = np.flatnonzero(np.diff(times) < 0)
    if len(unsorted):
        i = unsorted[0] + 1
        accepted = f"times in ascending order (the row before has {str(stamps[i - 1])!r})"
        raise table.error(lines[i], "arrival_time", str(stamps[i]), accepted)
    first_hour, end = 24 * math.floor(times[0] / 24), 24 * (math.floor(times[-1] / 24) + 1)
    return ArrivalFile(
        path=str(table.path),
        first_hour=first_hour,
        n_hours=end - first_hour,
        monday=monday,
        counts=None,
        times=_frozen(times),
        **_arrays(len(times), attributes),
    )


def _stamp(table: _Table, line: int, text: str, before: list[float | datetime]) -> float | datetime:
    hours, moment = _number(text), _date_time(text)
    if hours is not None and abs(hours) < _LARGEST_HOURS:
        value: float | datetime = hours
    elif hours is None and moment is not None and moment.tzinfo is None:
        value = moment
    else:
        raise table.error(line, "arrival_time", text, "hours, or ISO date-times on the local clock such as 2024-03-31 07:45")
    if before and type(value) is not type(before[0]):
        raise table.error(line, "arrival_time", text, f"one format throughout (the first row has {str(before[0])!r})")
    return value


def _file_clock(name: str, stamps: list[float | datetime]) -> tuple[datetime | None, NDArray[np.float64]]:
    """Hours on the file's clock, and the date of its hour 0."""
    moments = [stamp for stamp in stamps if isinstance(stamp, datetime)]
    if not moments:
        return None, np.array(stamps, dtype=np.float64)
    first, last = min(moments), max(moments)
    # Looked at before the order: shifted dates are rarely in order, and "not sorted" would invite the user to sort them.
    if _hours_between(first, last) > _LONGEST_YEARS * 365.25 * 24 or last.year >= 2100:
        reason = f"the dates run from {first.date()} to {last.date()}, as in de-identified databases in which"
        raise _shifted_dates(name, reason)
    monday = _monday(moments[0])
    return monday, np.array([_hours_between(monday, moment) for moment in moments])


def _attribute(table: _Table, line: int, name: str, text: str) -> float:
    if name == "age":
        accepted = "years from 0 to 120, or blank"
        return math.nan if not text else table.number(line, name, text, accepted, lambda x: 0 <= x <= 120)
    if name == "service_hours":
        return math.nan if not text else table.number(line, name, text, "hours > 0, or blank", lambda x: x > 0)
    codes = _SEX_CODES if name == "sex" else _SEVERITY_CODES
    key = text.lower().removesuffix(".0")  # a column of integers with gaps is often written as 0.0, 1.0
    if key and key not in codes:
        raise table.error(line, name, text, f"{', '.join(codes)}, or blank")
    return codes[key] if key else -1


class _Attributes(TypedDict):
    age: NDArray[np.float64]
    sex: NDArray[np.int8]
    severity: NDArray[np.int8]
    service_hours: NDArray[np.float64]


def _arrays(n: int, given: dict[str, list[float]]) -> _Attributes:
    """The attributes of n arrivals; those that the file has not are NaN or -1."""
    blank, no_code = [math.nan] * n, [-1] * n
    return _Attributes(
        age=_frozen(np.array(given.get("age", blank), dtype=np.float64)),
        sex=_frozen(np.array(given.get("sex", no_code), dtype=np.int8)),
        severity=_frozen(np.array(given.get("severity", no_code), dtype=np.int8)),
        service_hours=_frozen(np.array(given.get("service_hours", blank), dtype=np.float64)),
    )
