"""``sb3-grpo report``: say what a study found, in tables and figures.

    sb3-grpo report runs/study/core
    sb3-grpo report runs/study/core runs/study/sensitivity --markdown docs/results.md --figures docs/images/study
    sb3-grpo report runs/study/diagnosis
    sb3-grpo report runs/study/sepsis --markdown docs/results/sepsis.md

It reads the results that are there, also of a study that is not finished, and says what is missing. Of a study of diagnosis it
writes for each table what ``sb3-grpo diagnose`` writes, in a folder of the study's with the table's name.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from sb3_grpo.cli.diagnose_report import write_report as write_diagnoses
from sb3_grpo.cli.options import UsageError, make_folder, whole_number
from sb3_grpo.study.report import write_report
from sb3_grpo.study.runs import StudyError
from sb3_grpo.study.store import Store


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "report",
        help="say what a study found, in tables and figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", nargs="+", help="folder of a study; of several with the same protocol, all together")
    parser.add_argument("--markdown", metavar="FILE", help="where the report goes (default: report.md in the first folder)")
    parser.add_argument("--figures", metavar="FOLDER", help="where the figures go (default: figures beside the report)")
    parser.add_argument(
        "--resamples",
        type=whole_number(99),
        default=1999,
        metavar="N",
        help="of patients, for intervals and tests of a study of diagnosis (%(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the report.

    :param args: the options
    :return: exit status
    """
    folders = [Path(folder) for folder in args.folder]
    for folder in folders:
        if not (folder / "study.json").is_file():
            raise UsageError(f"folder: got {str(folder)!r}, expected one that sb3-grpo study wrote, with study.json in it")
    task = Store(folders[0]).description().get("task")
    try:
        reports = {"diagnosis": _report_diagnosis, "sepsis": _report_sepsis}
        reports.get(str(task), _report_hospitals)(args, folders)
    except StudyError as error:
        raise UsageError(str(error)) from None
    return 0


def _report_hospitals(args: argparse.Namespace, folders: Sequence[Path]) -> None:
    markdown = Path(args.markdown) if args.markdown else folders[0] / "report.md"
    make_folder(str(markdown.parent), "--markdown")
    figures = make_folder(args.figures or str(markdown.parent / "figures"), "--figures")
    console = Console(width=None if sys.stdout.isatty() else 120)
    for path in write_report(folders, markdown, figures):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


def _report_diagnosis(args: argparse.Namespace, folders: Sequence[Path]) -> None:
    """For each table what ``sb3-grpo diagnose`` writes."""
    from sb3_grpo.study.tasks.diagnosis import comparisons

    for option, value in (("--markdown", args.markdown), ("--figures", args.figures), ("FOLDER", ", ".join(args.folder[1:]))):
        if value:
            raise UsageError(f"{option}: got {value!r}, expected none: a study of diagnosis is reported in its own one folder")
    store = Store(folders[0])
    found, waiting = comparisons(store.description()["grid"]), []
    for each in found:
        name, answers = each.benchmark.table, each.answers(store)
        folder = make_folder(str(store.folder / name), "FOLDER")
        if not write_diagnoses(each.table, each.benchmark.attributes, each.tasks, answers, folder, name, args.resamples):
            waiting.append(name)
            if not any(folder.iterdir()):
                folder.rmdir()
    if waiting:
        said = (
            f"{store.folder}: nothing to report of {', '.join(waiting)} yet: no method has a seed with all its folds finished"
        )
        if len(waiting) == len(found):
            raise StudyError(said)
        print(said, file=sys.stderr)


def _report_sepsis(args: argparse.Namespace, folders: Sequence[Path]) -> None:
    """Tables, numbers and a figure beside them, unless ``--figures`` says where."""
    from hospital_gym.clinical.sepsis.mdp import read_mdp
    from sb3_grpo.sepsis.page import write_report as write_sepsis
    from sb3_grpo.study.tasks.sepsis import finished

    if len(folders) > 1:
        raise UsageError(f"folder: got {', '.join(args.folder)}, expected one: a study of sepsis is reported by itself")
    store = Store(folders[0])
    rows = {name: runs for name, runs in finished(store).items() if runs}
    if not rows:
        raise StudyError(f"{store.folder}: nothing to report yet: no training is finished")
    missing = len(store.description()["runs"]) - sum(map(len, rows.values()))
    markdown = Path(args.markdown) if args.markdown else store.folder / "sepsis.md"
    make_folder(str(markdown.parent), "--markdown")
    figures = make_folder(args.figures or str(markdown.parent), "--figures")
    found = {name: [result for _, result in runs] for name, runs in rows.items()}
    group_by = store.description()["grid"].get("group_by", "age")
    words = ["sb3-grpo report", str(store.folder), *(["--markdown", str(markdown)] if args.markdown else [])]
    command = shlex.join([*words[0].split(), *words[1:]])
    console = Console(width=None if sys.stdout.isatty() else 120)
    for path in write_sepsis(read_mdp(), group_by, found, missing, command, markdown, figures / f"{markdown.stem}.png"):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
