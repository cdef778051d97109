"""``sb3-grpo warn``: train policies that warn of deaths in intensive care, and judge them on test patients.

    sb3-grpo warn --data FOLDER
    sb3-grpo warn --data synthetic --seeds 2 --updates 8

Policies are trained with GroupRelativePPO in EarlyWarning-ICU-v0 on 60 % of the patients, stopped early on 20 %, and judged on
the other 20 % beside logistic regression and gradient boosting. Finished trainings are kept in the output folder: the same
command goes on where it was interrupted. Exit status: 0 done, 1 a training failed, 2 bad options or data.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hospital_gym.clinical.data_directory import MissingDataError
from hospital_gym.clinical.early_warning import HORIZON
from hospital_gym.clinical.icu_stays import IcuStays
from hospital_gym.clinical.stays import load_stays
from sb3_grpo.cli.evaluation import make_console
from sb3_grpo.cli.options import UsageError, make_folder, whole_number
from sb3_grpo.cli.warn_job import FloorJob, PolicyJob
from sb3_grpo.cli.warn_report import write_report
from sb3_grpo.cli.workers import Interrupted, Workers
from sb3_grpo.early_warning.methods import FLOORS, POLICIES, Training

_DEFAULT: Final = ("summary", "summary-individual", "flat")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "warn",
        help="train and judge policies that warn of deaths in intensive care",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="where PhysioNet 2012 lies (environment variable HOSPITAL_GYM_DATA), or 'synthetic'"
    )
    parser.add_argument(
        "--policies",
        default=",".join(_DEFAULT),
        metavar="NAME[,NAME]",
        help=f"among {', '.join(POLICIES)}; the first is the one whose groups are drawn (%(default)s)",
    )
    parser.add_argument(
        "--floors", default=",".join(FLOORS), metavar="NAME[,NAME]", help="classifiers to compare with (%(default)s)"
    )
    parser.add_argument("--seeds", type=whole_number(1), default=5, metavar="N", help="trainings of each policy (%(default)s)")
    parser.add_argument("--updates", type=whole_number(1), metavar="N", help=f"of each ({Training().updates})")
    parser.add_argument("--processes", type=whole_number(1), default=1, metavar="N", help="trainings at a time (%(default)s)")
    parser.add_argument(
        "--resamples", type=whole_number(99), default=1999, metavar="N", help="of patients, for intervals (%(default)s)"
    )
    parser.add_argument("--output", metavar="FOLDER", default="runs/early-warning", help="where to write (%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, judge, write.

    :param args: the options
    :return: exit status
    """
    names, floors = _names("--policies", args.policies, POLICIES), _names("--floors", args.floors, FLOORS)
    stays = _stays(args.data)
    folder = make_folder(args.output, "--output")
    training = Training() if args.updates is None else replace(Training(), updates=args.updates)
    jobs: list[PolicyJob | FloorJob] = [FloorJob(kind, args.data, folder / "trainings") for kind in floors]
    for name in names:
        jobs += [PolicyJob(name, training, seed, args.data, folder / "trainings") for seed in range(args.seeds)]
    console = make_console()
    for note in stays.notes:
        console.print(note, style="dim", highlight=False)
    try:
        failed = _train(jobs, stays, args.processes)
    except Interrupted as interrupted:
        console.print(f"{folder}: finished trainings are kept; the same command goes on from here.", soft_wrap=True)
        return interrupted.status
    if failed:
        print(failed, file=sys.stderr)
        return 1
    write_report(jobs, stays, names, floors, training, folder, args.resamples)
    return 0


def _names(option: str, text: str, known: Iterable[str]) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"{option}: got {', '.join(unknown)}, expected names among {', '.join(known)}")
    return names


def _stays(data: str | None) -> IcuStays:
    try:
        stays = load_stays(data)
    except (MissingDataError, ValueError) as error:
        raise UsageError(f"--data: {error}") from None
    shorter = int((stays.hours < HORIZON).sum())
    if shorter:
        raise UsageError(f"--data: {shorter} stays are shorter than {HORIZON} hours, expected patients seen equally long")
    return stays


def _train(jobs: Sequence[PolicyJob | FloorJob], stays: IcuStays, processes: int) -> str | None:
    """Run what is not finished yet. :return: What a training that failed said; None if none did."""
    waiting = [job for job in jobs if job.found(stays) is None]
    if not waiting:
        return None
    with Workers(processes, make_console()) as workers:
        for number, job in enumerate(waiting):
            workers.submit(job.path, job, f"{number + 1}/{len(waiting)} {job.label}")
        for outcome in workers.outcomes():
            if outcome.error is not None:
                return f"{Path(outcome.key).stem}: {outcome.error}"
    return None
