"""Time and memory of ``sb3-grpo audit`` on a synthetic log: rows per second, and the most memory its process held.

    python benchmarks/audit.py --rows 10_000_000 --markdown docs/results/audit-benchmark.md

The log is written to a temporary folder chunk by chunk and audited in a process of its own, so that only its memory counts.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

CHUNK: Final = 200_000
YEARS: Final = 5
GROUPINGS: Final = ("age_band", "sex,ethnicity")
LIMIT_GB: Final = 2.0

_ETHNICITIES: Final = ("A", "B", "C", "D", "not stated")
_TARGETS: Final = {1: 0.25, 2: 0.5, 3: 1.0, 4: 2.0, 5: 4.0}

COLUMN_MAP: Final = """\
columns:
  record_id: visit
  wait: {from: arrived, to: seen, otherwise: left_at}
  severity_arrival: {column: triage, values: {1: critical, 2: critical, 3: urgent, 4: routine, 5: routine}}
  target_wait: {column: triage, values: {1: 0.25, 2: 0.5, 3: 1, 4: 2, 5: 4}}
  outcome:
    column: disposal
    values: {home: treated-success, readmitted: treated-failure, left: left}
  service_time: {column: stay_minutes, unit: minutes}
"""


def write_log(path: Path, rows: int, seed: int = 0) -> None:
    """Write a log of emergency visits in which everybody waits alike.

    :param path: the CSV to write
    :param rows: number of visits
    :param seed: seed
    """
    rng = np.random.default_rng(seed)
    begin, seconds = np.datetime64("2019-01-07T00:00:00"), YEARS * 365 * 86_400
    for first in range(0, rows, CHUNK):
        n = min(CHUNK, rows - first)
        arrived = begin + ((first + np.arange(n)) * (seconds / rows)).astype("timedelta64[s]")
        triage = rng.choice(5, n, p=[0.01, 0.14, 0.40, 0.35, 0.10]) + 1
        waited = (rng.exponential(0.3 * triage, n) * 3600).astype("timedelta64[s]")
        left = rng.random(n) < 0.04
        moment = pd.Series(arrived + waited)
        disposal = np.where(left, "left", np.where(rng.random(n) < 0.05, "readmitted", "home"))
        table = pd.DataFrame(
            {
                "visit": first + np.arange(n),
                "arrived": pd.Series(arrived).astype(str),
                "seen": moment.astype(str).where(~left, ""),
                "left_at": moment.astype(str).where(left, ""),
                "age": rng.integers(0, 100, n),
                "sex": rng.choice(["F", "M"], n),
                "ethnicity": rng.choice(_ETHNICITIES, n, p=[0.6, 0.15, 0.12, 0.08, 0.05]),
                "triage": triage,
                "disposal": disposal,
                "stay_minutes": np.where(left, "", rng.lognormal(5.0, 0.5, n).round(1).astype(str)),
            }
        )
        table.to_csv(path, mode="w" if first == 0 else "a", header=first == 0, index=False, lineterminator="\n")


def audit(folder: Path) -> tuple[float, float]:
    """Run the command on the log in a folder.

    :return: wall time in seconds and the most resident memory in gigabytes (1e9 bytes)
    """
    words = [sys.executable, "-m", "sb3_grpo", "audit", str(folder / "visits.csv"), "--columns", str(folder / "map.yml")]
    for grouping in GROUPINGS:
        words += ["--group", grouping]
    words += ["--outcome", "in_time", "--cluster", "week", "--output", str(folder / "out")]
    begin = time.perf_counter()
    subprocess.run(words, check=True)
    wall = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return wall, used * (1 if sys.platform == "darwin" else 1024) / 1e9


def report(rows: int, size: int, wall: float, memory: float, load: float) -> str:
    """The result as a page.

    :param rows: number of rows
    :param size: bytes of the file
    :param wall: seconds
    :param memory: gigabytes
    :param load: processes that wanted a core when it began, on average over five minutes
    """
    verdict = "within" if memory <= LIMIT_GB else "**beyond**"
    return f"""`python benchmarks/audit.py --rows {rows}`: {len(GROUPINGS)} groupings ({"; ".join(GROUPINGS)}), waits from
time-stamps, three columns mapped, identifiers checked for duplicates, intervals over weeks, JSON, HTML, CSV and PNG written.

| rows | file | wall time | rows per second | most memory | limit of {LIMIT_GB:g} GB |
|---|---|---|---|---|---|
| {rows:,} | {size / 1e9:.2f} GB | {wall:.0f} s | {rows / wall:,.0f} | {memory:.2f} GB | {verdict} |

Python {platform.python_version()}, pandas {pd.__version__}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores.
Other work ran on the machine: a load average of {load:.1f} when the audit began.
"""


def main() -> int:
    """Write the log, audit it, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--markdown", type=Path, help="also write the result to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "map.yml").write_text(COLUMN_MAP, encoding="utf-8")
        begin = time.perf_counter()
        write_log(folder / "visits.csv", args.rows)
        size = (folder / "visits.csv").stat().st_size
        print(f"wrote {args.rows:,} rows, {size / 1e9:.2f} GB, in {time.perf_counter() - begin:.0f} s", flush=True)
        load = os.getloadavg()[1]
        wall, memory = audit(folder)
        text = report(args.rows, size, wall, memory, load)
    print(text)
    if args.markdown is not None:
        args.markdown.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
