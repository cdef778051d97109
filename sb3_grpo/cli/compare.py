"""``sb3-grpo compare``: several models and rules on the same patients, with differences to the first of them."""

import argparse
import sys
from typing import Any

from sb3_grpo.cli.evaluation import (
    Evaluator,
    add_evaluation_options,
    facts,
    make_console,
    read_hospital,
    read_policies,
    training_curves,
    write_report,
)
from sb3_grpo.cli.options import UsageError
from sb3_grpo.cli.workers import Interrupted, Workers


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("compare", help="compare models and rules on the same patients", description=__doc__)
    parser.add_argument(
        "policies",
        nargs="+",
        metavar="POLICY",
        help="files of models (.zip; open only files you trust) and rules; differences refer to the first",
    )
    add_evaluation_options(parser, out="runs/compare")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, compare, print, write.

    :param args: the options
    :return: exit status
    """
    hospital = read_hospital(args)
    if len(args.policies) < 2:
        raise UsageError(f"POLICY: got {args.policies[0]!r} alone, expected at least two (sb3-grpo evaluate takes one)")
    try:
        policies = read_policies(args.policies, hospital)
    except UsageError as error:
        raise UsageError(f"POLICY: {error}") from None
    console = make_console()
    try:
        with Workers(args.processes, console) as workers:
            evaluations, _ = Evaluator(hospital, policies, args).run(workers, {})
    except Interrupted as interrupted:
        return interrupted.status
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    from sb3_grpo.fairness.report import FairnessReport

    report = FairnessReport(
        evaluations, training=training_curves(policies), facts=facts(evaluations, hospital), seed=args.seed
    )
    write_report(report, evaluations, args, console)
    return 0
