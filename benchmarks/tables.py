"""What the benchmarks share: their tables, and what has to be said of the machine."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table


class Measured(NamedTuple):
    """A table: names of the columns, and rows of as many words."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def ratio(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> str:
    """Of the fastest times, with the range of the ratios of measurements that follow each other."""
    each = first / second
    return f"{first.min() / second.min():.2f} ({each.min():.2f} to {each.max():.2f})"


def machine(load: float, *versions: str) -> str:
    """
    :param load: Load average when the benchmark began
    :param versions: Name and version of what the figures depend on, beside Python and NumPy
    """
    known = ", ".join([f"Python {platform.python_version()}", f"NumPy {np.__version__}", *versions])
    return (
        f"{known}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores. The machine was shared: load average "
        f"{load:.1f} when the benchmark began, and who shares its caches slows it down."
    )


def peak_memory(reset: bool = False) -> float:
    """Most memory of this process, in MiB, since it was reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def markdown(table: Measured) -> str:
    """A table in Markdown, columns of numbers to the right."""
    number = re.compile(r"(-?[\d.,]+( \(.*\)| ± [\d.,]+)?)?")
    right = [all(number.fullmatch(row[column]) for row in table.rows) for column in range(len(table.header))]
    lines: Sequence[Iterable[str]] = [table.header, ["---:" if numbers else "---" for numbers in right], *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(tables: list[Measured], note: str, path: Path | None, width: int = 160) -> None:
    """
    Print tables and note.

    :param tables: The tables
    :param note: What they mean, and the machine
    :param path: Also write them, in Markdown, to this file
    :param width: Of the terminal
    """
    console = Console(width=width)
    for measured in tables:
        shown = Table(*measured.header)
        for row in measured.rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(note)
    if path is not None:
        path.write_text("\n\n".join([*map(markdown, tables), note]) + "\n", encoding="utf-8")
