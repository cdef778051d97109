"""Reading files of records in chunks, with the line of whatever is wrong with them.

A row that has too many or too few cells would be read as something else by any fast reader. So the delimiters are counted as
the file streams by, and only a file that does not have as many as its rows need is read once more to find where.
"""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from sb3_grpo.fairness.audit.columns import ColumnMap, closest

if TYPE_CHECKING:
    import pandas as pd

CHUNK_ROWS: Final = 200_000
"""Rows that are held in memory at once."""

SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")

_DELIMITERS: Final = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_BROKEN: Final = (gzip.BadGzipFile, EOFError, zlib.error)


class RecordsError(ValueError):
    """A file of records that cannot be used; the message names file, line and column, the value and what is accepted."""


class _Counted(io.RawIOBase):
    """Bytes of a file as they are read, with a count of the delimiters that stand outside quotes."""

    def __init__(self, stream: IO[bytes], delimiter: str) -> None:
        self._stream, self._delimiter, self._quoted = stream, ord(delimiter), 0
        self.delimiters = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        if self._quoted or b'"' in data:
            signs = np.frombuffer(data, dtype=np.uint8)
            inside = (np.cumsum(signs == ord('"')) + self._quoted) & 1
            self.delimiters += int(np.count_nonzero((signs == self._delimiter) & (inside == 0)))
            self._quoted = int(inside[-1]) if len(inside) else self._quoted
        else:
            self.delimiters += data.count(self._delimiter)
        return len(data)

    def close(self) -> None:
        """Close the file too."""
        self._stream.close()
        super().close()


class RecordFile:
    """A ``.csv``, ``.csv.gz`` or ``.parquet`` file with one row per record.

    :param path: the file
    :param form: delimiter, decimal point, encoding and what means a missing cell
    :raises RecordsError: if there is no such file, or its first line names no columns
    """

    def __init__(self, path: str | Path, form: ColumnMap) -> None:
        self.path, self.form = Path(path), form
        self.name = self.path.name
        if not self.path.is_file():
            raise RecordsError(f"{self.path}: no such file; expected a {', '.join(SUFFIXES)} file of records")
        if not self.name.lower().endswith(SUFFIXES):
            raise RecordsError(f"{self.name}: expected a file whose name ends in {', '.join(SUFFIXES)}")
        try:
            codecs.lookup(form.encoding)
        except LookupError:
            raise RecordsError(f"encoding: got {form.encoding!r}, expected one that Python knows, e.g. 'latin-1'") from None
        if len(form.delimiter) != 1 or ord(form.delimiter) > 127:
            raise RecordsError(f"delimiter: got {form.delimiter!r}, expected one sign such as ',' or ';'")
        self.is_parquet = self.name.lower().endswith(".parquet")
        self.columns: tuple[str, ...] = self._parquet_columns() if self.is_parquet else self._header()

    # --- what is in it ---

    def require(self, column: str, purpose: str) -> None:
        """Refuse a column that is not there.

        :param column: its name
        :param purpose: what it is for
        """
        if column not in self.columns:
            raise RecordsError(
                f"{self.name}, line 1: no column {column!r} ({purpose}){closest(column, self.columns)}; "
                f"the columns are {', '.join(self.columns)}"
            )

    def chunks(self, text: Sequence[str], other: Sequence[str], rows: int = CHUNK_ROWS) -> Iterator["pd.DataFrame"]:
        """The rows, some at a time; the index counts rows from 0.

        :param text: columns to read as text
        :param other: columns to read as numbers where all cells are numbers, else as text
        :param rows: most rows at a time
        :raises RecordsError: naming the line of what cannot be read
        """
        if self.is_parquet:
            yield from self._parquet_chunks(text, other, rows)
        else:
            yield from self._csv_chunks(text, other, rows)

    def place(self, row: int) -> str:
        """Where a row stands, "line 17".

        :param row: number of the row, from 0
        :raises RecordsError: if the row has too many or too few cells: that is then what is wrong with it
        """
        if self.is_parquet:
            return f"row {row + 1}"
        for number, (line, cells) in enumerate(self._rows()):
            if number == row:
                self._check_cells(line, cells)
                return f"line {line}"
        return f"row {row + 1}"

    def cell(self, row: int, column: str) -> str:
        """The text of one cell.

        :param row: number of the row, from 0
        :param column: name of the column
        """
        if self.is_parquet:
            return ""
        place = self.columns.index(column)
        for number, (_, cells) in enumerate(self._rows()):
            if number == row:
                return cells[place] if place < len(cells) else ""
        return ""

    # --- CSV ---

    def _open(self) -> IO[bytes]:
        return gzip.open(self.path, "rb") if self.name.lower().endswith(".gz") else self.path.open("rb")  # type: ignore[return-value]

    @property
    def _encoding(self) -> str:
        return "utf-8-sig" if self.form.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else self.form.encoding

    def _header(self) -> tuple[str, ...]:
        self._check_start()
        for _, cells in self._rows(header=True):
            names = tuple(cell.strip() for cell in cells)
            break
        else:
            raise RecordsError(f"{self.name}: is empty; expected a first line with the names of the columns")
        if len(names) == 1:
            for sign, what in _DELIMITERS.items():
                if sign != self.form.delimiter and sign in names[0]:
                    raise RecordsError(
                        f"{self.name}, line 1: got one column {names[0][:60]!r}; cells seem to be separated by {what}: "
                        f"give the delimiter {sign!r}"
                    )
        for place, name in enumerate(names):
            if not name:
                raise RecordsError(f"{self.name}, line 1: column {place + 1} has no name; expected one for every column")
            if name in names[:place]:
                raise RecordsError(f"{self.name}, line 1: two columns are called {name!r}; expected different names")
        return names

    def _check_start(self) -> None:
        try:
            with self._open() as stream:
                start = stream.read(4)
        except _BROKEN as error:
            raise RecordsError(f"{self.name}: cannot be unpacked ({error}); expected a whole gzip file") from None
        if start[:2] in (b"\xff\xfe", b"\xfe\xff") and not self.form.encoding.lower().startswith("utf-16"):
            raise RecordsError(f"{self.name}, line 1: the text is in UTF-16; give the encoding 'utf-16', or save it as UTF-8")
        if start[:2] == b"PK":
            raise RecordsError(f"{self.name}: is a zip archive or a spreadsheet; expected text: save it as CSV")

    def _rows(self, header: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of every row, slowly but surely; without the header unless asked for."""
        with io.TextIOWrapper(self._open(), encoding=self._encoding, newline="") as text:
            reader = csv.reader(text, delimiter=self.form.delimiter)
            first = not header
            begin = 1
            try:
                for cells in reader:
                    line, begin = begin, reader.line_num + 1
                    if not cells:
                        continue
                    if first:
                        first = False
                        continue
                    yield line, cells
            except UnicodeDecodeError:
                raise self._undecodable() from None
            except csv.Error as error:
                raise RecordsError(f"{self.name}, line {reader.line_num}: not CSV ({error})") from None
            except _BROKEN as error:
                raise RecordsError(f"{self.name}: cannot be unpacked ({error}); expected a whole gzip file") from None

    def _undecodable(self) -> RecordsError:
        """The first line that is not text in the encoding."""
        with self._open() as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    line.decode(self.form.encoding)
                except UnicodeDecodeError as error:
                    return RecordsError(
                        f"{self.name}, line {number}: got the byte {line[error.start]:#04x}, which is not "
                        f"{self.form.encoding}; give the encoding of the file, e.g. 'latin-1' or 'cp1252'"
                    )
        return RecordsError(f"{self.name}: not text in {self.form.encoding}")

    def _check_cells(self, line: int, cells: list[str]) -> None:
        if len(cells) != len(self.columns):
            raise RecordsError(
                f"{self.name}, line {line}: got {len(cells)} cells, expected {len(self.columns)} as in the first line; "
                f"a cell that holds {self.form.delimiter!r} must be in double quotes"
            )

    def _check_all_cells(self) -> None:
        for line, cells in self._rows():
            self._check_cells(line, cells)

    def _csv_chunks(self, text: Sequence[str], other: Sequence[str], rows: int) -> Iterator["pd.DataFrame"]:
        import pandas as pd

        counted = _Counted(self._open(), self.form.delimiter)
        n_rows = 0
        try:
            with pd.read_csv(
                io.BufferedReader(counted, 1 << 20),
                names=list(self.columns),
                header=0,
                usecols=[*text, *other],
                dtype=dict.fromkeys(text, str),  # as "category" pandas would make numbers of 01 and 02
                index_col=False,
                keep_default_na=False,
                na_values=list(self.form.missing),
                sep=self.form.delimiter,
                decimal=self.form.decimal,
                encoding=self._encoding,
                chunksize=rows,
                low_memory=False,
            ) as reader:
                for chunk in reader:
                    n_rows += len(chunk)
                    yield chunk
        except UnicodeDecodeError:
            raise self._undecodable() from None
        except _BROKEN as error:
            raise RecordsError(f"{self.name}: cannot be unpacked ({error}); expected a whole gzip file") from None
        except pd.errors.ParserError as error:
            self._check_all_cells()
            raise RecordsError(f"{self.name}: not CSV ({' '.join(str(error).split())})") from None
        if n_rows == 0:
            raise RecordsError(f"{self.name}: holds no rows below its first line; expected one for every record")
        if counted.delimiters != (n_rows + 1) * (len(self.columns) - 1) and not self._encoding.lower().startswith("utf-16"):
            self._check_all_cells()

    # --- Parquet ---

    def _parquet(self) -> Any:
        try:
            import duckdb
        except ImportError:
            raise RecordsError(
                f"{self.name}: reading .parquet needs DuckDB: pip install duckdb, or save it as .csv.gz"
            ) from None
        connection = duckdb.connect()
        connection.execute("SET memory_limit = '512MB'; SET threads = 1; SET preserve_insertion_order = true")
        return connection

    def _parquet_columns(self) -> tuple[str, ...]:
        connection = self._parquet()
        try:
            described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(self.path)]).fetchall()
        except Exception as error:  # DuckDB's own errors, of which there are many kinds
            raise RecordsError(f"{self.name}: not a Parquet file ({str(error).splitlines()[0]})") from None
        return tuple(str(row[0]) for row in described)

    def _parquet_chunks(self, text: Sequence[str], other: Sequence[str], rows: int) -> Iterator["pd.DataFrame"]:
        import pandas as pd

        quoted = [(name, '"' + name.replace('"', '""') + '"') for name in (*text, *other)]
        chosen = ", ".join(f"CAST({q} AS VARCHAR) AS {q}" if name in text else q for name, q in quoted)
        result = self._parquet().execute(f"SELECT {chosen} FROM read_parquet(?)", [str(self.path)])
        first = 0
        while len(chunk := result.fetch_df_chunk(max(rows // 2048, 1))):
            for name in text:
                chunk[name] = chunk[name].astype(object).where(~chunk[name].isin(self.form.missing), None)
            chunk.index = pd.RangeIndex(first, first + len(chunk))
            first += len(chunk)
            yield chunk
        if first == 0:
            raise RecordsError(f"{self.name}: holds no rows; expected one for every record")
