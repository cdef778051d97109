"""``sb3-grpo monitor``: watch a hospital's own log over time, with control limits for every group, the worst rate and the gap.

Exit status: 0 no limit was passed, 2 an option or the file cannot be used, 3 a limit was passed.
"""

import argparse
from typing import Any, Final

from sb3_grpo.cli.evaluation import make_console
from sb3_grpo.cli.options import UsageError, make_folder, whole_number
from sb3_grpo.cli.records import add_records_options, output_folder, read_columns, read_groups
from sb3_grpo.common.files import write_json, write_text

PASSED: Final = 3
"""Exit status when a limit was passed."""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "monitor",
        help="watch a hospital's own log over time",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_records_options(parser)
    parser.add_argument(
        "--group", required=True, metavar="COLUMN[,COLUMN]", help="form groups by this, or by combinations of several"
    )
    parser.add_argument("--outcome", metavar="NAME", help="what is watched, as for audit")
    parser.add_argument(
        "--window", default="week", choices=("day", "week"), help="by arrival; weeks begin on Monday (%(default)s)"
    )
    parser.add_argument(
        "--baseline", type=whole_number(1), metavar="N", help="the first N windows say what is usual (default: the first half)"
    )
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=0.05,
        metavar="P",
        help="chance of any alarm in all windows and charts together while nothing changes (%(default)s)",
    )
    parser.add_argument(
        "--smoothing",
        type=float,
        default=0.2,
        metavar="W",
        help="weight of the newest window in the averages of worst and gap; 1: no averaging (%(default)s)",
    )
    parser.add_argument(
        "--min-patients", type=whole_number(1), default=30, metavar="N", help="a rate of fewer is not judged (%(default)s)"
    )
    parser.add_argument("--output", metavar="FOLDER", help="where to write (default: runs/monitor/<name of the file>)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, judge, print, write.

    :param args: the options
    :return: exit status
    """
    from sb3_grpo.fairness.audit import RecordsError
    from sb3_grpo.fairness.audit.monitor import Plan, monitor_records
    from sb3_grpo.fairness.audit.monitor_picture import draw
    from sb3_grpo.fairness.audit.monitor_words import summary, to_dict, to_frame

    columns, groups = read_columns(args), read_groups([args.group])
    try:
        plan = Plan(
            by=groups[0],
            window=args.window,
            outcome=args.outcome,
            baseline=args.baseline,
            false_alarms=args.false_alarms,
            smoothing=args.smoothing,
            min_patients=args.min_patients,
            bad_rows=args.bad_rows,
        )
    except ValueError as error:
        raise UsageError(f"--{error}".replace("_", "-", 1)) from None
    folder = make_folder(str(output_folder(args.output, args.records, "monitor")), "--output")
    try:
        watched = monitor_records(args.records, plan, columns)
    except RecordsError as error:
        raise UsageError(str(error)) from None
    console = make_console()
    console.print(summary(watched))
    write_json(folder / "monitor.json", to_dict(watched))
    write_text(folder / "monitor.csv", to_frame(watched).to_csv(index=False, lineterminator="\n"))
    draw(folder / "monitor.png", watched)
    console.print(f"{folder}: monitor.json, monitor.csv, monitor.png", markup=False, highlight=False, soft_wrap=True)
    return PASSED if watched.alarms else 0
