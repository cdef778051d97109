"""``sb3-grpo study``: do a declared grid of trainings and evaluations, on all cores of this machine or on a cluster.

    sb3-grpo study quick                       # some minutes: see how it works
    sb3-grpo study core --dry-run              # what would be done, and how long it would take
    sb3-grpo study diagnosis                   # the comparison of methods that diagnose, on public tables
    sb3-grpo study my_grid.yml --out runs/mine

The same command goes on where it was interrupted, and repeats nothing. ``sb3-grpo report`` says what came out.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sb3_grpo.cli.options import UsageError, make_folder, whole_number
from sb3_grpo.study.engine import BACKENDS, execute, missing_runs
from sb3_grpo.study.grid import SHIPPED, Study, read_study
from sb3_grpo.study.protocol import Phase
from sb3_grpo.study.runs import Run, StudyError
from sb3_grpo.study.store import Store

_PHASES: Final[tuple[Phase, ...]] = ("validation", "test")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "study",
        help="do a declared grid of trainings and evaluations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("grid", nargs="?", default="core", help=f"{', '.join(SHIPPED)}, or a YAML file (%(default)s)")
    parser.add_argument("--out", metavar="FOLDER", help="where results go (default: runs/study/<name of the grid>)")
    parser.add_argument("--protocol", metavar="FILE", help="what is fixed beforehand (default: what the grid says)")
    parser.add_argument(
        "--phase",
        choices=_PHASES,
        help="validation: train, and choose lam; test: also play the test episodes (default: as far as the protocol allows)",
    )
    parser.add_argument("--only", metavar="PATTERN", help="only runs whose name fits, such as 'Urban/*'")
    parser.add_argument("--processes", type=whole_number(1), metavar="N", help="runs at a time (default: all cores)")
    parser.add_argument("--backend", choices=BACKENDS, default="loky", help="where runs are done (%(default)s: this machine)")
    parser.add_argument("--address", metavar="ADDRESS", help="of a Ray or dask cluster (default: a new one on this machine)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and for how long, and do nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do a study.

    :param args: the options
    :return: exit status: 1 if a run failed
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    n_jobs = args.processes or os.cpu_count() or 1
    try:
        study = read_study(args.grid, args.protocol)
        phase: Phase = args.phase or ("test" if study.protocol is None or study.protocol.is_chosen else "validation")
        all_runs = study.runs(phase)
        runs = _chosen(all_runs, args.only)
        path = Path(args.out or f"runs/study/{study.name}")
        if args.dry_run:
            _say_plan(console, study, phase, runs, Store(path), n_jobs)
            return 0
        store = Store(make_folder(str(path), "--out"))
        begin(store, study, phase, all_runs)
        return _execute(runs, store, console, n_jobs, args)
    except StudyError as error:
        raise UsageError(str(error)) from None


def begin(store: Store, study: Study, phase: Phase, runs: Sequence[Run]) -> None:
    """Write down what the study is, and hold on to its protocol once test episodes have been played.

    :raises StudyError: if the protocol has changed since
    """
    before = store.description()
    began = bool(before.get("test_began"))
    if began and before.get("protocol") != study.description()["protocol"]:
        raise StudyError(
            f"protocol: differs from that under which {store.folder} began to play test episodes, expected the same: with "
            "another protocol those episodes have been seen; take another folder and another seed in the grid"
        )
    names = {run.key: run.label for run in runs}
    store.describe({**study.description(), "phase": phase, "test_began": began or phase == "test", "runs": names})


def _chosen(runs: list[Run], pattern: str | None) -> list[Run]:
    if pattern is None:
        return runs
    chosen = [run for run in runs if fnmatch(run.label, pattern)]
    if not chosen:
        raise StudyError(f"--only: got {pattern!r}, expected a pattern that fits a run, such as {runs[0].label!r}")
    needed = {need.key for run in chosen for need in run.needs.values()}
    return [run for run in runs if run in chosen or run.key in needed]


def _execute(runs: Sequence[Run], store: Store, console: Console, n_jobs: int, args: argparse.Namespace) -> int:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    others = store.other_versions(runs)
    if others:
        _say(console, f"{len(others)} finished runs were made with other versions of the libraries; they are used as they are")
    before = signal.signal(signal.SIGTERM, terminate)
    display = Display(console, n_jobs, store.pace())
    try:
        with display:
            failed = execute(runs, store, display, n_jobs, args.backend, args.address)
    except KeyboardInterrupt:
        _say(console, "Interrupted. The same command goes on from there; what was finished is kept.")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    _say(console, f"{store.folder}: {len(runs) - len(failed)} of {len(runs)} runs finished")
    if failed:
        _say(console, f"Failed: {', '.join(failed)}. The same command tries them again.")
    _say(console, f"What came out: sb3-grpo report {store.folder}")
    return 1 if failed else 0


class Display:
    """How far a study is: a bar on a terminal, else a line for each run.

    :param console: where to
    :param n_jobs: number of runs at a time
    :param pace: how much longer runs take than expected; None if that is not known yet
    """

    def __init__(self, console: Console, n_jobs: int, pace: float | None) -> None:
        self._console, self._n_jobs, self._pace = console, n_jobs, pace
        columns = (
            TextColumn("runs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bars = Progress(*columns, console=console) if console.is_terminal else None
        self._task: TaskID | None = None
        self._ended, self._total = 0, 0
        self._waiting: dict[str, float] = {}
        self._expected = self._took = 0.0

    def __enter__(self) -> "Display":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begin(self, runs: Sequence[Run], done: int) -> None:
        """See :class:`sb3_grpo.study.engine.Watcher`."""
        self._waiting = {run.key: run.seconds for run in runs}
        self._ended, self._total = done, done + len(runs)
        if done:
            _say(self._console, f"{done} of {self._total} runs were finished before")
        if self._bars is not None:
            self._task = self._bars.add_task("runs", total=self._total, completed=done, left=self._left())

    def end(self, run: Run, seconds: float, error: str | None) -> None:
        """See :class:`sb3_grpo.study.engine.Watcher`."""
        expected = self._waiting.pop(run.key)
        self._ended += 1
        if error is None:
            self._expected, self._took = self._expected + expected, self._took + seconds
            self._pace = self._took / self._expected
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=self._ended, left=self._left())
        if error is not None:
            _say(self._console, f"{run.label}: FAILED: {error}")
        elif self._bars is None:
            _say(self._console, f"[{self._ended}/{self._total}] {run.label}: {duration(seconds)}; {self._left()}")

    def _left(self) -> str:
        seconds = sum(self._waiting.values()) * (self._pace or 1.0) / self._n_jobs
        return f"about {duration(seconds)} left" if self._waiting else "done"


def _say_plan(console: Console, study: Study, phase: Phase, runs: list[Run], store: Store, n_jobs: int) -> None:
    """Print what would be done."""
    missing = {run.key for run in missing_runs(runs, store)}
    pace = store.pace()
    cells: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        place, row, *_ = run.label.split("/")
        cells.setdefault(row, {}).setdefault(place, []).append(run)
    places = list(dict.fromkeys(run.label.split("/")[0] for run in runs))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title=f"{study.name}: runs finished / of all")
    for column in ("", *places, "left, one core"):
        table.add_column(column, justify="right" if column else "left")
    for row, by_place in cells.items():
        counts = [f"{sum(run.key not in missing for run in by_place.get(p, []))}/{len(by_place.get(p, []))}" for p in places]
        left = sum(run.seconds for of_place in by_place.values() for run in of_place if run.key in missing) * (pace or 1.0)
        table.add_row(row, *counts, duration(left) if left else "")
    console.print(table)
    todo = [run for run in runs if run.key in missing]
    seconds = sum(run.seconds for run in todo) * (pace or 1.0)
    longest = max((run.seconds for run in todo), default=0.0) * (pace or 1.0)
    source = "the rates of the two cores on which it was written" if pace is None else f"the runs finished in {store.folder}"
    _say(
        console,
        f"Up to phase {phase}: {len(todo)} of {len(runs)} runs to do, {duration(seconds)} on one core, about "
        f"{duration(max(seconds / n_jobs, longest))} with {n_jobs} at a time, by {source}",
    )


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say(console: Console, text: str) -> None:
    """Print one line that stays one line: paths are to be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
