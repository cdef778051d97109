"""``sb3-grpo audit``: what happened to each group, from a hospital's own log: tables, JSON, a page, a picture.

Exit status: 0 done, 2 an option or the file cannot be used (the message names line and column).
"""

import argparse
from typing import Any

from sb3_grpo.cli.evaluation import make_console
from sb3_grpo.cli.options import UsageError, make_folder, whole_number
from sb3_grpo.cli.records import RowCounter, add_records_options, output_folder, read_columns, read_groups
from sb3_grpo.common.files import write_text


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "audit",
        help="report what happened to each group in a hospital's own log",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_records_options(parser)
    parser.add_argument(
        "--group",
        action="append",
        required=True,
        metavar="COLUMN[,COLUMN]",
        help="form groups by this, or by combinations; repeat for further tables",
    )
    parser.add_argument(
        "--outcome",
        metavar="NAME",
        help="what groups are compared by: treated, in_time, success, benefit_rate, or a yes/no column in which yes is better "
        "(default: the first of benefit_rate, in_time, success, treated that the columns allow)",
    )
    parser.add_argument(
        "--cluster",
        metavar="UNIT",
        help="what is independent: week, day, a column such as ward, episode; patient (too narrow) or none "
        "(default: episode if there is that column, else week of arrival)",
    )
    parser.add_argument("--strata", metavar="COLUMN", help="compare groups at equal values of this (default: severity)")
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--output", metavar="FOLDER", help="where to write (default: runs/audit/<name of the file>)")
    parser.add_argument(
        "--seed", type=whole_number(0, 2**31 - 1), default=0, metavar="N", help="of the resamples (%(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, print, write.

    :param args: the options
    :return: exit status
    """
    from sb3_grpo.fairness.audit import AuditReport, Question, RecordsError, audit_records

    columns, groups = read_columns(args), read_groups(args.group)
    folder = make_folder(str(output_folder(args.output, args.records, "audit")), "--output")
    question = Question(groups, args.outcome, args.cluster, args.strata, args.bad_rows, args.seed)
    console = make_console()
    try:
        with RowCounter(console) as counter:
            audit = audit_records(args.records, question, columns, progress=counter)
    except RecordsError as error:
        raise UsageError(str(error)) from None
    report = AuditReport(audit, args.title)
    console.print(report)
    if audit.units.warning is not None:
        console.print(f"Note: {audit.units.warning}.", style="yellow", markup=False, highlight=False)
    write_text(folder / "audit.html", report.to_html())
    write_text(folder / "audit.json", report.to_json())
    write_text(folder / "audit.csv", report.to_frame().to_csv(index=False, lineterminator="\n"))
    report.to_png(folder / "audit.png")
    names = "audit.html, audit.json, audit.csv, audit.png"
    console.print(f"{folder}: {names}", markup=False, highlight=False, soft_wrap=True)
    return 0
