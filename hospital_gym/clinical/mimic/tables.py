"""The tables of MIMIC-III as files: where they lie, and how DuckDB reads them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, cast

import numpy.typing as npt

from hospital_gym.clinical.data_directory import ENVIRONMENT_VARIABLE, DataSet, MissingDataError, data_directory

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MIMIC_III: Final = DataSet(
    folder="mimic3",
    title="the MIMIC-III Clinical Database 1.4 (Johnson et al. 2016, doi:10.1038/sdata.2016.35)",
    url="https://physionet.org/content/mimiciii/1.4/",
    licence="PhysioNet Credentialed Health Data License",
    how=(
        "To get it, become a credentialed user of PhysioNet, complete the training it asks for, sign the data use agreement, "
        "download the tables and leave them as they are (.csv.gz or .csv). The demo of 100 patients is open to all and has "
        "the same tables: https://physionet.org/content/mimiciii-demo/1.4/."
    ),
)

SUFFIXES: Final = (".csv", ".csv.gz")
"""What files of tables end in. Where there are both, the one that needs no unpacking is read."""


def find_tables(names: Sequence[str], directory: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """
    :param names: of the tables, such as ``"CHARTEVENTS"``; files may be named in lower case
    :param directory: the folder that holds them, or that has a folder ``mimic3`` which does; None for the environment variable
        ``HOSPITAL_GYM_DATA``
    :return: the file of each table
    :raises MissingDataError: naming the tables that are not there, the folder, and how to get them
    """
    root = data_directory(directory)
    if root is None:
        raise _missing(names, f"no data directory is known: set {ENVIRONMENT_VARIABLE} to it, or pass `data=`")
    folder = root / MIMIC_III.folder if (root / MIMIC_III.folder).is_dir() else root
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()} if folder.is_dir() else {}
    found = {name: next((files[key] for key in _keys(name) if key in files), None) for name in names}
    lacking = [name for name, path in found.items() if path is None]
    if lacking:
        raise _missing(lacking, f"not in {folder}" if folder.is_dir() else f"{folder} is no directory")
    return {name: path for name, path in found.items() if path is not None}


def _keys(name: str) -> tuple[str, ...]:
    return tuple(f"{name.lower()}{suffix}" for suffix in SUFFIXES)


def _missing(names: Sequence[str], place: str) -> MissingDataError:
    wanted = ", ".join(f"{name}.csv.gz" for name in names)
    source = f"{MIMIC_III.title}: {MIMIC_III.url} ({MIMIC_III.licence})"
    return MissingDataError(f"{wanted}: {place}. This is part of {source}. {MIMIC_III.how}")


@contextmanager
def database(memory: float, workspace: str | os.PathLike[str] | None = None) -> Iterator["DuckDBPyConnection"]:
    """
    A database in a temporary folder, which is deleted in the end.

    :param memory: gigabytes that it may hold in memory; what is more goes to the folder
    :param workspace: where to make the folder; None for the system's place
    :raises ValueError: if ``memory`` is too small, or the place does not exist
    :raises ImportError: if DuckDB is not installed
    """
    try:
        import duckdb
    except ImportError:
        raise ImportError('reading MIMIC-III needs DuckDB: pip install "sb3-grpo[clinical]"') from None

    if isinstance(memory, bool) or not isinstance(memory, (int, float)) or not memory >= 0.1:
        raise ValueError(f"memory: got {memory!r}, expected gigabytes, at least 0.1")
    if workspace is not None and not Path(workspace).is_dir():
        raise ValueError(f"workspace: {workspace} is no directory")
    with TemporaryDirectory(prefix="mimic3-", dir=workspace) as folder:
        connection = duckdb.connect(str(Path(folder) / "events.duckdb"))
        try:
            connection.execute(f"SET memory_limit = '{1000 * memory:.0f}MB'")
            connection.execute(f"SET temp_directory = {literal(folder)}")
            connection.execute("SET preserve_insertion_order = false")  # else whole tables are kept to put rows in order
            yield connection
        except RuntimeError as error:
            if str(error) == "Query interrupted":  # what DuckDB makes of Ctrl-C
                raise KeyboardInterrupt from None
            raise
        finally:
            connection.close()


def scan(connection: "DuckDBPyConnection", path: Path, columns: dict[str, str]) -> str:
    """
    :param connection: a database
    :param path: a CSV file with a header, in any case
    :param columns: SQL type by name of the columns that are needed
    :return: a query that gives these columns; what does not fit the type is missing
    :raises ValueError: naming the file and the columns it lacks
    """
    # As text: a type guessed from the first rows may not fit the last
    source = f"read_csv({literal(path)}, header = true, delim = ',', quote = '\"', escape = '\"', all_varchar = true)"
    with readable(path):
        present = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    lacking = sorted(set(columns) - {name.lower() for name in present})
    if lacking:
        raise ValueError(f"{path}: lacks the columns {', '.join(lacking)}; it has {', '.join(present)}")
    return f"SELECT {', '.join(f'TRY_CAST({name} AS {kind}) AS {name}' for name, kind in columns.items())} FROM {source}"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what DuckDB says of a damaged file into a sentence."""
    import duckdb

    try:
        yield
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.BinderException) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def fetch(connection: "DuckDBPyConnection", sql: str, parameters: Sequence[Any] = ()) -> dict[str, npt.NDArray[Any]]:
    """
    :return: columns of the result by name; masked where values are missing
    """
    return cast(dict[str, npt.NDArray[Any]], connection.execute(sql, list(parameters)).fetchnumpy())


def literal(text: str | os.PathLike[str]) -> str:
    """A text in SQL."""
    return "'" + os.fspath(text).replace("'", "''") + "'"
