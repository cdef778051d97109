"""A file of records as chunks of the patient table (:mod:`sb3_grpo.fairness.records`)."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.records import AGE_BANDS, OUTCOMES, SEVERITIES
from sb3_grpo.fairness.audit import cells
from sb3_grpo.fairness.audit.columns import CATEGORIES, DURATIONS, FIELDS, IDS, NUMBERS, TIMES, YES_NO, ColumnMap, Source
from sb3_grpo.fairness.audit.files import CHUNK_ROWS, RecordFile, RecordsError
from sb3_grpo.fairness.audit.problems import Fault, Problems

if TYPE_CHECKING:
    import pandas as pd

AGE_LIMIT: Final = 130.0
"""Years beyond which an age is an error."""

_ALLOWED: Final = {"severity_arrival": SEVERITIES, "severity_decision": SEVERITIES, "outcome": OUTCOMES}
_SEXES: Final = {"f": "female", "female": "female", "m": "male", "male": "male"}
_REQUIRED: Final = ("treated", "need", "counted", "demand", "benefit", "cost", "outcome", *_ALLOWED)
_UNTREATED: Final = ("left", "died-waiting", "still-waiting")

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class PatientLog:
    """A file of records and how it is read.

    :param path: a ``.csv``, ``.csv.gz`` or ``.parquet`` file
    :param columns: what its columns are called
    :param attributes: fields that are needed besides those with a meaning of their own: groups, strata, clusters
    :param bad_rows: rows that may be left out because they cannot be used
    :param only: the only fields to read, besides ``attributes``; all that there are by default
    :raises RecordsError: if the file cannot be used, or lacks a column
    """

    def __init__(
        self,
        path: str | Path,
        columns: ColumnMap,
        attributes: Iterable[str] = (),
        bad_rows: int = 0,
        only: Iterable[str] | None = None,
    ) -> None:
        self.file = RecordFile(path, columns)
        self.map = columns
        self.problems = Problems(self.file, bad_rows)
        self.until = None if columns.observed_until is None else _moment(columns.observed_until)
        self.fields = self._sources(attributes, FIELDS if only is None else tuple(only))
        for name, source in self.fields.items():
            for column in source.columns:
                self.file.require(column, name if name == column else f"for {name}")
        for column in columns.keep:
            self.file.require(column, "to choose rows by")

    def __contains__(self, name: str) -> bool:
        """Whether the table will have a column."""
        return name in self.columns

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table."""
        derived = {"age_band"} if "age" in self.fields else set()
        if self._timed("wait") is not None:
            derived |= {"arrival"} | (set() if "outcome" in self.fields else {"treated"})
        if self._timed("service_time") is not None:
            derived.add("service_start")
        return (*self.fields, *sorted(derived - set(self.fields)))

    def tables(self, rows: int = CHUNK_ROWS) -> Iterator["pd.DataFrame"]:
        """The patients, some at a time; the index counts the rows of the file from 0.

        :param rows: most rows at a time
        :raises RecordsError: naming line and column of what cannot be read
        """
        text: set[str] = set(self.map.keep)
        other: set[str] = set()
        for name, source in self.fields.items():
            is_text = name in CATEGORIES or name in YES_NO or name in IDS or name not in FIELDS
            (text if is_text else other).update(source.columns)
        if not text and not other:  # only the number of rows is needed
            other = {self.file.columns[0]}
        n_kept = 0
        for chunk in self.file.chunks(sorted(text), sorted(other - text), rows):
            kept = self._kept(chunk)
            n_kept += len(kept)
            if len(kept):
                yield self._table(kept)
        if n_kept == 0:
            wanted = "; ".join(f"{column} = {' or '.join(values)}" for column, values in self.map.keep.items())
            raise RecordsError(f"{self.file.name}: no row has {wanted}")

    # --- which fields there are ---

    def _sources(self, attributes: Iterable[str], wanted: tuple[str, ...]) -> dict[str, Source]:
        found = {}
        for name in (*wanted, *attributes):
            if name in self.map.fields:
                found[name] = self.map.fields[name]
            elif name in self.file.columns:
                found[name] = Source(column=name)
            elif name not in wanted and not (name == "age_band" and "age" in found):
                self.file.require(name, "to group by")
        return found

    def _timed(self, name: str) -> Source | None:
        source = self.fields.get(name)
        return source if source is not None and source.start is not None else None

    def _kept(self, chunk: "pd.DataFrame") -> "pd.DataFrame":
        for column, values in self.map.keep.items():
            trimmed = chunk[column].astype(str).str.strip().where(chunk[column].notna(), "")
            chunk = chunk[trimmed.isin(values)]
        return chunk

    # --- one chunk ---

    def _table(self, chunk: "pd.DataFrame") -> "pd.DataFrame":
        import pandas as pd

        faults: list[Fault] = []
        table: dict[str, Any] = {}
        for name, source in self.fields.items():
            if name not in DURATIONS:
                table[name] = self._read(name, source, chunk, faults)
        if "age" in table and "age_band" not in self.fields:
            table["age_band"] = self._age_bands(table["age"])
        for name in DURATIONS:
            if name in self.fields:
                self._read_duration(name, chunk, table, faults)
        self._check_together(chunk, table, faults)
        usable = self.problems.check(chunk.index.to_numpy(dtype=np.int64), faults)
        frame = pd.DataFrame(table, index=chunk.index)
        return frame if usable.all() else frame[usable]

    def _read(self, name: str, source: Source, chunk: "pd.DataFrame", faults: list[Fault]) -> Any:
        if source.column is None:
            return self._constant(name, source, len(chunk))
        column = chunk[source.column]
        decimal = self.map.decimal
        if name in IDS:
            if name == "record_id":
                faults.append(Fault(source.column, column.isna().to_numpy(), "an identifier: it may not be missing"))
            return column.astype(object)
        if name in TIMES:
            read = cells.moments(column, source, decimal)
        elif name in YES_NO:
            read = cells.yes_no(column, source)
        elif name in NUMBERS or name == "episode":
            read = cells.numbers(column, source, decimal)
        else:
            read = cells.categories(column, source, _ALLOWED.get(name), _SEXES if name == "sex" else None)
        bad = read.bad
        missing = _missing(read.values) & ~bad
        faults.append(Fault(source.column, bad, read.accepted))
        if name in _REQUIRED or name in TIMES or name == "episode":
            faults.append(Fault(source.column, missing, f"{read.accepted}: {name} may not be missing"))
        if name in NUMBERS:
            most = AGE_LIMIT if name == "age" else np.inf
            accepted = f"{name} from 0 to {most:g}" if name == "age" else f"{name} of at least 0"
            faults.append(Fault(source.column, (read.values < 0) | (read.values > most), accepted))
        if name == "episode":
            faults.append(Fault(source.column, read.values != np.floor(read.values), "a whole number"))
            return np.nan_to_num(read.values).astype(np.int64)
        return read.values

    def _constant(self, name: str, source: Source, n: int) -> Any:
        import pandas as pd

        if name in CATEGORIES or name not in FIELDS:
            return pd.Categorical([str(source.value)] * n)
        if name in YES_NO and str(source.value).casefold() in (*cells.YES, *cells.NO):
            return np.full(n, float(str(source.value).casefold() in cells.YES))
        try:
            return np.full(n, float(source.value))
        except (TypeError, ValueError):
            raise RecordsError(f"columns: {name}: value: got {source.value!r}, expected a number or yes or no") from None

    def _age_bands(self, age: FloatArray) -> Any:
        import pandas as pd

        limits = np.asarray(self.map.age_bands)
        if self.map.age_bands == (18.0, 65.0):
            names = list(AGE_BANDS)
        else:
            begins = [0.0, *limits]
            names = [f"{a:g}-{b - 1:g}" for a, b in zip(begins, limits, strict=False)] + [f"{limits[-1]:g}+"]
        codes = np.where(np.isnan(age), -1, np.searchsorted(limits, np.nan_to_num(age), side="right"))
        return pd.Categorical.from_codes(codes, categories=pd.Index(names), ordered=True)

    # --- times ---

    def _read_duration(self, name: str, chunk: "pd.DataFrame", table: dict[str, Any], faults: list[Fault]) -> None:
        source = self.fields[name]
        if source.start is not None and source.end is not None:
            self._between(name, source, chunk, table, faults)
            return
        if source.column is None:
            table[name] = self._constant(name, source, len(chunk)) * cells.HOURS_PER_UNIT[source.unit or "hours"]
            return
        read = cells.durations(chunk[source.column], source, self.map.decimal)
        faults.append(Fault(source.column, read.bad, read.accepted))
        least = "a duration above 0" if name == "target_wait" else "a duration of at least 0"
        faults.append(Fault(source.column, (read.values <= 0) if name == "target_wait" else (read.values < 0), least))
        values = read.values
        if name == "wait":
            values = self._until_the_end(values, table)
            accepted = f"{read.accepted}; of the untreated, their wait so far or the map's observed_until"
            faults.append(Fault(source.column, np.isnan(values) & ~read.bad, accepted))
        elif name == "target_wait":
            faults.append(Fault(source.column, np.isnan(values) & ~read.bad, read.accepted))
        table[name] = values

    def _until_the_end(self, wait: FloatArray, table: Mapping[str, Any]) -> FloatArray:
        """Waits of those who were never treated, up to the end of observation where that is known."""
        untreated = _untreated(table, len(wait))
        open_ended = np.isnan(wait) & untreated
        if self.until is not None and "arrival" in table:
            wait = np.where(open_ended, np.maximum(self.until - table["arrival"], 0.0), wait)
        return wait

    def _between(self, name: str, source: Source, chunk: "pd.DataFrame", table: dict[str, Any], faults: list[Fault]) -> None:
        """Hours from one moment to another."""
        read = {c: cells.moments(chunk[c], source, self.map.decimal) for c in source.columns}
        for column, of in read.items():
            faults.append(Fault(column, of.bad, of.accepted))
        start, end = read[str(source.start)].values, read[str(source.end)].values
        faults.append(
            Fault(str(source.start), np.isnan(start) & ~read[str(source.start)].bad, "a moment: it may not be missing")
        )
        order = f"a moment not before {source.start!r}"
        faults.append(Fault(str(source.end), end < start, order))
        ended = ~np.isnan(end)
        if source.otherwise is not None:
            other = read[source.otherwise].values
            faults.append(Fault(source.otherwise, ~ended & (other < start), order))
            end = np.where(ended, end, other)
        if name == "wait":
            if self.until is not None:
                end = np.where(np.isnan(end), np.maximum(self.until, start), end)
            hint = "a moment, or the map's observed_until for those who still waited"
            faults.append(Fault(str(source.end), np.isnan(end) & ~read[str(source.end)].bad, hint))
            table.setdefault("arrival", start)
            if "outcome" not in table:
                table.setdefault("treated", ended.astype(np.float64))
        if name == "service_time":
            table["service_start"] = start
        table[name] = end - start

    def _check_together(self, chunk: "pd.DataFrame", table: dict[str, Any], faults: list[Fault]) -> None:
        """What ties fields to one another."""
        if "benefit" in table and "demand" in table:
            more = table["benefit"] > table["demand"] * (1 + 1e-9)
            column = self.fields["benefit"].column or "benefit"
            faults.append(Fault(column, more, "a benefit of at most the demand"))


def _untreated(table: Mapping[str, Any], n: int) -> BoolArray:
    if "outcome" in table:
        return np.asarray(table["outcome"].isin(_UNTREATED), dtype=np.bool_)
    if "treated" in table:
        return np.asarray(table["treated"] == 0.0)
    return np.zeros(n, dtype=np.bool_)


def _moment(text: str) -> float:
    try:
        return cells.moment(text)
    except ValueError as error:
        raise RecordsError(f"observed_until: {error}") from None


def _missing(values: Any) -> BoolArray:
    """Which values are missing, of arrays and categories alike."""
    import pandas as pd

    return np.asarray(pd.isna(values), dtype=np.bool_)
