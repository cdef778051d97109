"""Options of the commands that read a hospital's own log: which file, what its columns are called, what to leave out."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sb3_grpo.cli.options import UsageError, whole_number
from sb3_grpo.fairness.audit.columns import ColumnMap, column_option, keep_option, read_map


def add_records_options(parser: argparse.ArgumentParser) -> None:
    """Add the file and the options that say how to read it."""
    parser.add_argument("records", metavar="RECORDS", help=".csv, .csv.gz or .parquet file, one row per record")
    parser.add_argument("--columns", metavar="YAML", help="what the columns are called and how their cells are to be read")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="the same for one field: wait=wait_min in minutes, or wait=from arrived to seen; may be repeated",
    )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="look only at rows with this value; may be repeated",
    )
    parser.add_argument("--delimiter", metavar="SIGN", help="what separates cells, e.g. ';' or tab (default: ,)")
    parser.add_argument("--decimal", metavar="SIGN", help="decimal point (default: .)")
    parser.add_argument("--encoding", metavar="NAME", help="encoding of the text (default: utf-8)")
    parser.add_argument(
        "--bad-rows",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="leave out up to N rows that cannot be used, and say so (default: 0, the first one is an error)",
    )


def read_columns(args: argparse.Namespace) -> ColumnMap:
    """The map that the options describe.

    :param args: the options of :func:`add_records_options`
    :raises UsageError: naming the option, its value and what is accepted
    """
    columns = ColumnMap()
    if args.columns is not None:
        columns = _read(read_map, args.columns, "--columns")
    columns = columns.with_fields(dict(_read(column_option, text, "--column") for text in args.column))
    for text in args.keep:
        name, values = _read(keep_option, text, "--keep")
        columns = columns.with_kept({name: (*columns.keep.get(name, ()), *values)})
    form: dict[str, Any] = {
        "delimiter": "\t" if args.delimiter in ("tab", "\\t") else args.delimiter,
        "decimal": args.decimal,
        "encoding": args.encoding,
    }
    return replace(columns, **{key: value for key, value in form.items() if value is not None})


def _read(reader: Any, text: str, option: str) -> Any:
    try:
        return reader(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def read_groups(texts: list[str]) -> tuple[tuple[str, ...], ...]:
    """Groupings as written on the command line, ``sex`` or ``age_band,sex``."""
    groups = tuple(tuple(name.strip() for name in text.split(",")) for text in texts)
    for text, by in zip(texts, groups, strict=True):
        if not all(by) or len(set(by)) < len(by):
            raise UsageError(f"--group: got {text!r}, expected different columns separated by commas")
    return groups


class RowCounter:
    """Says on a terminal how many rows have been read.

    :param console: where to
    """

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.completed:,} rows"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._progress.add_task("rows", total=None)

    def __enter__(self) -> "RowCounter":
        self._progress.start()
        return self

    def __exit__(self, *rest: object) -> None:
        self._progress.stop()

    def __call__(self, rows: int) -> None:
        """Show a number of rows."""
        self._progress.update(self._task, completed=rows)


def output_folder(path: str | None, records: str, command: str) -> Path:
    """Where results go: the folder asked for, else ``runs/<command>/<name of the file>``."""
    if path is not None:
        return Path(path)
    name = Path(records).name
    for suffix in (".csv.gz", ".csv", ".parquet"):
        name = name.removesuffix(suffix)
    return Path("runs") / command / name
