"""``sb3-grpo coverage``: whether the intervals of all reports cover the truth as often as they claim."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sb3_grpo.cli.options import make_folder, whole_number
from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.common.files import write_text
from sb3_grpo.fairness.coverage import Case, Coverage, cases, run_case

_HEADER = "| setting | episodes | quantity | method | target | covered | mean width | bias | |"


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("coverage", help="simulate how often intervals cover a known truth", description=__doc__)
    parser.add_argument(
        "--replications", type=whole_number(1), default=2000, metavar="N", help="samples of each setting (%(default)s)"
    )
    parser.add_argument("--resamples", type=whole_number(20), default=999, metavar="N", help="of each bootstrap (%(default)s)")
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0, metavar="N", help="(%(default)s)")
    parser.add_argument("--markdown", metavar="FILE", help="write the table to this file instead of printing it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate, print or write.

    :param args: the options
    :return: exit status, 0 also where a method misses its target: the table says so
    """
    if args.markdown is not None:
        make_folder(str(Path(args.markdown).parent), "--markdown")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    worlds = cases(args.resamples)
    rows: list[Coverage] = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("coverage", total=len(worlds) * args.replications)
        for k, world in enumerate(worlds):
            progress.update(task, description=f"{world.title}, n={world.n}")
            rng = np.random.default_rng([derived_seed(args.seed, "bootstrap"), k])
            rows += run_case(world, args.replications, rng, lambda: progress.advance(task))
    text = markdown_coverage(rows)
    if args.markdown is None:
        sys.stdout.write(text)
    else:
        write_text(Path(args.markdown), text)
    return 0


def markdown_coverage(rows: list[Coverage]) -> str:
    """The study as a Markdown table, with a sentence about its own error.

    :param rows: one entry per check
    """
    lines = [
        f"{rows[0].replications} samples of each setting, so a method that covers 95 % is found within "
        f"{2 * 100 * rows[0].error:.1f} percentage points of it 19 times in 20 (within error: outside the target by no "
        "more than that). Rows without a target are for comparison: what the methods above them replace, or what would be "
        "wrong.",
        "",
        f"Target met: {_count(rows, 'holds')}. Outside, within error: {_listed(rows, 'within error')}. Missed: "
        f"{_listed(rows, 'misses')}.",
        "",
        _HEADER,
        "|---" * 9 + "|",
    ]
    case: Case | None = None
    for row in rows:
        setting, n = ("", "") if row.case is case else (row.case.title, str(row.case.n))
        case = row.case
        lines.append(
            f"| {setting} | {n} | {row.check.quantity} | {row.check.method} | {_target(row)} | {row.covered:.1%} | "
            f"{row.width:.3f} | {row.bias:+.4f} | {row.verdict} |".replace("%", " %")
        )
    return "\n".join(lines) + "\n"


def _target(row: Coverage) -> str:
    if row.check.target is None:
        return ""
    low, high = row.check.target
    return f"at least {low:.0%}" if high >= 1 else f"{low:.0%} to {high:.0%}"


def _count(rows: list[Coverage], verdict: str) -> int:
    return sum(row.verdict == verdict for row in rows)


def _listed(rows: list[Coverage], verdict: str) -> str:
    names = "; ".join(_name(row) for row in rows if row.verdict == verdict)
    return f"{_count(rows, verdict)} ({names})" if names else "none"


def _name(row: Coverage) -> str:
    return f"{row.check.quantity}, {row.check.method}, {row.case.title}, n={row.case.n}"
