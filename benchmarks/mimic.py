"""How fast the tables of MIMIC-III become hours, and in how much memory, against pandas.

    python -m benchmarks.mimic --markdown docs/results/benchmark-mimic.md

The tables are made up, with the schema and the shares of rows of MIMIC-III 1.4, in a temporary folder. A quarter of the rows
has an item that is read. Each measurement has a process of its own, whose memory is the most that was resident.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.mimic_with_pandas import read_with_pandas
from benchmarks.tables import Measured, machine, peak_memory, report
from hospital_gym.clinical.mimic import read_mimic3
from hospital_gym.clinical.mimic.items import read_items
from hospital_gym.clinical.mimic.made_up import write_made_up_tables

EVENTS_OF_A_STAY: Final = 6_240
"""Rows of events by stay in MIMIC-III: 384 millions and 61,532."""

LIMIT_GB: Final = 2.0

MIB: Final = 2**20 / 1e9
"""Gigabytes (1e9 bytes)."""


def with_reader(folder: Path) -> tuple[Any, Any]:
    """Identifiers and values of all hours, by the reader."""
    stays = read_mimic3(folder, hours=None)
    return stays.stay_ids, stays.values


READERS: Final[dict[str, Callable[[Path], tuple[Any, Any]]]] = {"read_mimic3": with_reader, "pandas": read_with_pandas}


def measure(reader: str, folder: Path) -> dict[str, float]:
    """Read in this process, and leave the values in the folder."""
    before, wall, cpu = peak_memory(), time.perf_counter(), time.process_time()
    ids, values = READERS[reader](folder)
    measured = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    measured |= {"before": before * MIB, "peak": peak_memory() * MIB}
    np.savez(folder / reader, ids=ids, values=values)
    return measured


def in_process(reader: str, folder: Path) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.mimic", "--measure", reader, "--folder", str(folder)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)


def difference(folder: Path) -> float:
    """The largest difference between the values of both readers, relative to 1 or the value; infinite if one has a hole."""
    (ids, values), (other_ids, others) = ((arrays["ids"], arrays["values"]) for arrays in map(_arrays, [folder] * 2, READERS))
    if not np.array_equal(ids, other_ids) or not np.array_equal(np.isnan(values), np.isnan(others)):
        return np.inf
    return float(np.nanmax(np.abs(values - others) / np.maximum(np.abs(others), 1.0)))


def _arrays(folder: Path, reader: str) -> dict[str, Any]:
    with np.load(folder / f"{reader}.npz") as arrays:
        return dict(arrays)


HEADER: Final = ("reader", "events", "files, GB", "seconds", "of a core", "events/s", "GB before", "GB peak", "hours read")


def rows_of(events: int, readers: list[str]) -> tuple[list[tuple[str, ...]], float]:
    """Rows of the table for one number of events, and the largest difference between readers."""
    with TemporaryDirectory() as name:
        folder, rows = Path(name), list[tuple[str, ...]]()
        write_made_up_tables(folder, max(1, round(events / EVENTS_OF_A_STAY)), events)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
        print(f"wrote {events:,} events, {size:.2f} GB", file=sys.stderr)
        for reader in readers:
            found = in_process(reader, folder)
            hours = f"{len(_arrays(folder, reader)['values']):,}"
            speeds = (f"{found['wall']:.1f}", f"{found['cpu']:.1f}", f"{events / found['wall']:,.0f}")
            memory = (f"{found['before']:.2f}", f"{found['peak']:.2f}")
            rows.append((reader, f"{events:,}", f"{size:.2f}", *speeds, *memory, hours))
            print(f"{reader}: {found}", file=sys.stderr)
        return rows, difference(folder) if len(readers) == 2 else 0.0


def note(rows: list[tuple[str, ...]], worst: float, load: float) -> str:
    """What the table means, and the machine."""
    import duckdb

    peak = max(float(row[7]) for row in rows if row[0] == "read_mimic3")
    verdict = "within" if peak < LIMIT_GB else "**beyond**"
    same = "the same to the last bit" if worst == 0 else f"the same but for {worst:.0e} of the value"
    explained = f"""All hours of all stays, {len(read_items().channels)} channels; CSV files that are not packed. Seconds: by
the clock, and those for which the process had a core. GB before: of the process with its imports; peak: the most while
it read. `read_mimic3` lets DuckDB hold 1 GB and puts the rest on disk: its peak of {peak:.2f} GB is {verdict} the limit of
{LIMIT_GB:g} GB. The peer reads whole tables, of them the columns that it needs. The hours of both are {same}, holes
included."""
    return f"{explained}\n\n{machine(load, f'DuckDB {duckdb.__version__}', f'pandas {pd.__version__}')}"


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--events",
        type=int,
        nargs="+",
        default=[1_000_000, 10_000_000, 30_000_000],
        metavar="N",
        help="rows of events (%(default)s)",
    )
    parser.add_argument("--without-peer", action="store_true", help="do not measure pandas")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    parser.add_argument("--measure", choices=list(READERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.folder)))
        return 0
    load, rows, worst = os.getloadavg()[0], list[tuple[str, ...]](), 0.0
    for events in args.events:
        found, gap = rows_of(events, list(READERS)[: 1 if args.without_peer else 2])
        rows, worst = rows + found, max(worst, gap)
    report([Measured(HEADER, rows)], note(rows, worst, load), args.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
