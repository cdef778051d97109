"""``sb3-grpo diagnose``: train policies on a table of cases, cross-validate them, and report what they do to each group.

    sb3-grpo diagnose train.csv --label y --groups sex,age_band --source site
    sb3-grpo diagnose --benchmark heart-disease

Every case is held out once, at random and, with --source, source by source. Finished trainings are kept in the output folder:
the same command goes on where it was interrupted. Exit status: 0 done, 1 a training failed, 2 bad options or file.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hospital_gym.clinical.case_table import CaseTable
from sb3_grpo.cli.diagnose_dynamics import write_dynamics
from sb3_grpo.cli.diagnose_job import DiagnoseJob
from sb3_grpo.cli.diagnose_report import write_report
from sb3_grpo.cli.diagnose_table import add_table_options, read_benchmark_table, read_case_table
from sb3_grpo.cli.evaluation import make_console
from sb3_grpo.cli.options import UsageError, make_folder, whole_number
from sb3_grpo.cli.workers import Interrupted, Workers
from sb3_grpo.diagnosis.benchmark import BENCHMARKS, REFERENCE, SUBJECTS
from sb3_grpo.diagnosis.cross_validation import FoldTask, plan, saved_answers
from sb3_grpo.diagnosis.dynamics import curve_plan
from sb3_grpo.diagnosis.folds import POOLED, SOURCES
from sb3_grpo.diagnosis.methods import METHODS, Training

_DEFAULT_METHODS: Final = ("logistic", "boosting", "ppo", "grpo", "fair-grpo")
_RATES: Final = (1e-4, 3e-4, 1e-3)
_CURVE_UPDATES: Final = 150
_CURVE_POINTS: Final = 30


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "diagnose",
        help="train and cross-validate diagnosis policies on a table of cases",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", nargs="?", metavar="TABLE", help="CSV file with a header, one row per case")
    add_table_options(parser)
    parser.add_argument("--benchmark", metavar="NAME", help=f"in place of a file, a public table: {', '.join(BENCHMARKS)}")
    parser.add_argument("--data", metavar="FOLDER", help="where public tables lie (environment variable HOSPITAL_GYM_DATA)")
    parser.add_argument("--methods", metavar="NAME[,NAME]", help=f"among {', '.join(METHODS)}")
    parser.add_argument("--seeds", type=whole_number(1), metavar="N", help="trainings of each policy in each fold (3)")
    parser.add_argument("--folds", type=whole_number(2), default=5, metavar="N", help="folds of held-out cases (%(default)s)")
    parser.add_argument("--updates", type=whole_number(1), metavar="N", help="updates of each training (30)")
    parser.add_argument(
        "--sampling", choices=("uniform", "label"), help="'label' presents rare answers as often as others (uniform)"
    )
    parser.add_argument(
        "--tune", action="store_true", help="choose the learning rate in each fold's training cases; ten times the work"
    )
    parser.add_argument(
        "--dynamics",
        action="store_true",
        help="in place of all that, draw disparity over training of GRPO and FairGRPO, or of --methods, on held-out cases",
    )
    parser.add_argument("--processes", type=whole_number(1), default=1, metavar="N", help="trainings at a time (%(default)s)")
    parser.add_argument(
        "--resamples",
        type=whole_number(99),
        default=1999,
        metavar="N",
        help="of patients, for intervals and tests (%(default)s)",
    )
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--output", metavar="FOLDER", help="where to write (default: runs/diagnose/<name of the table>)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, summarise, write.

    :param args: the options
    :return: exit status
    """
    table, attributes, tasks, name = _read(args)
    if args.dynamics:
        tasks = list(_curve_tasks(args, table, tasks))
    folder = make_folder(args.output or str(Path("runs") / "diagnose" / name), "--output")
    console = make_console()
    for note in table.notes:
        console.print(note, style="dim", highlight=False)
    try:
        failed = _train(tasks, table, folder / "answers", args.processes)
    except Interrupted as interrupted:
        console.print(f"{folder}: finished trainings are kept; the same command goes on from here.", soft_wrap=True)
        return interrupted.status
    if failed:
        print(failed, file=sys.stderr)
        return 1
    if args.dynamics:
        write_dynamics(table, attributes, tasks, folder, name)
    else:
        found = {task.file_name: saved_answers(folder / "answers", task, table) for task in tasks}
        write_report(table, attributes, tasks, found, folder, name, args.resamples, args.title)
    return 0


def _read(args: argparse.Namespace) -> tuple[CaseTable, tuple[str, ...], list[FoldTask], str]:
    """The cases, the attributes that disparities are measured by, the trainings, and a name."""
    if (args.table is None) == (args.benchmark is None):
        raise UsageError("TABLE: expected either a CSV file or --benchmark NAME")
    if args.benchmark is not None:
        if args.benchmark not in BENCHMARKS:
            raise UsageError(f"--benchmark: got {args.benchmark!r}, expected one of {', '.join(BENCHMARKS)}")
        fixed = BENCHMARKS[args.benchmark]
        table = read_benchmark_table(fixed.table, args.data).grouped_by(*fixed.group_by)
        training, attributes, names = fixed.training, fixed.attributes, list(fixed.methods)
        seeds = dict(fixed.seeds) if args.seeds is None else {scheme: tuple(range(args.seeds)) for scheme, _ in fixed.seeds}
    else:
        table = read_case_table(args)
        training, attributes, names = Training(), table.group_by, list(_DEFAULT_METHODS)
        schemes = [POOLED] + ([SOURCES] if len(table.source_names) > 1 else [])
        seeds = {scheme: tuple(range(args.seeds or 3)) for scheme in schemes}
    names = _methods(args.methods) if args.methods else names
    changed = {key: value for key in ("updates", "sampling") if (value := getattr(args, key)) is not None}
    training = Training(**{**vars(training), **changed})
    try:
        methods = {name: METHODS[name] for name in names}
        tasks = plan(table, methods, training, seeds, args.folds, _RATES if args.tune else ())
    except ValueError as error:
        raise UsageError(f"--{error}" if str(error).startswith("folds") else str(error)) from None
    return table, attributes, tasks, args.benchmark or Path(args.table).stem


def _curve_tasks(args: argparse.Namespace, table: CaseTable, tasks: Sequence[FoldTask]) -> Sequence[FoldTask]:
    """Trainings whose disparity is drawn: long ones, so that what happens late is seen."""
    names = _methods(args.methods) if args.methods else [REFERENCE, SUBJECTS[0]]
    updates = args.updates or _CURVE_UPDATES
    training = replace(tasks[0].training, updates=updates)
    seeds = range(args.seeds or 3)
    every = max(1, updates // _CURVE_POINTS)
    found = curve_plan(table, {name: METHODS[name] for name in names}, training, seeds, args.folds, every)
    if not found:
        raise UsageError(f"--methods: got {args.methods}, expected at least one policy: a classifier has no updates")
    return found


def _methods(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UsageError(f"--methods: got {', '.join(unknown)}, expected names among {', '.join(METHODS)}")
    return names


def _train(tasks: Sequence[FoldTask], table: CaseTable, folder: Path, processes: int) -> str | None:
    """Run what is not finished yet. :return: What a training that failed said; None if none did."""
    waiting = [task for task in tasks if saved_answers(folder, task, table) is None]
    if not waiting:
        return None
    with Workers(processes, make_console()) as workers:
        for number, task in enumerate(waiting):
            label = f"{number + 1}/{len(waiting)} {task.method.label}, {task.scheme}, fold {task.fold.name}, seed {task.seed}"
            workers.submit(task.file_name, DiagnoseJob(task, table, folder), label)
        for outcome in workers.outcomes():
            if outcome.error is not None:
                return f"{outcome.key}: {outcome.error}"
    return None
