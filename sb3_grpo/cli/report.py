"""``sb3-grpo report``: say what a study found, in tables and figures.

    sb3-grpo report runs/study/core
    sb3-grpo report runs/study/core runs/study/sensitivity --markdown docs/results.md --figures docs/images/study

It reads the results that are there, also of a study that is not finished, and says what is missing.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from sb3_grpo.cli.options import UsageError, make_folder
from sb3_grpo.study.report import write_report
from sb3_grpo.study.runs import StudyError


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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the report.

    :param args: the options
    :return: exit status
    """
    folders = [Path(folder) for folder in args.folder]
    markdown = Path(args.markdown) if args.markdown else folders[0] / "report.md"
    for folder in folders:
        if not (folder / "study.json").is_file():
            raise UsageError(f"folder: got {str(folder)!r}, expected one that sb3-grpo study wrote, with study.json in it")
    make_folder(str(markdown.parent), "--markdown")
    figures = make_folder(args.figures or str(markdown.parent / "figures"), "--figures")
    try:
        written = write_report(folders, markdown, figures)
    except StudyError as error:
        raise UsageError(str(error)) from None
    console = Console(width=None if sys.stdout.isatty() else 120)
    for path in written:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return 0
