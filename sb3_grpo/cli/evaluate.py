"""``sb3-grpo evaluate``: what one policy does to each group, against a rule in use: table, page, JSON, patients, events."""

import argparse
import sys
from typing import Any

from sb3_grpo.cli.evaluation import (
    Evaluator,
    add_evaluation_options,
    changed,
    facts,
    make_console,
    read_hospital,
    read_policies,
    training_curves,
    write_report,
)
from sb3_grpo.cli.options import UsageError
from sb3_grpo.cli.workers import Interrupted, Workers

_NONE = "none"


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("evaluate", help="report what a policy does to each group", description=__doc__)
    parser.add_argument(
        "policy", metavar="POLICY", help="file of a model (.zip), or name of a rule; open only files you trust"
    )
    add_evaluation_options(parser, out="runs/evaluate")
    parser.add_argument(
        "--reference", default="triage", metavar="POLICY", help="what differences refer to, or 'none' (%(default)s)"
    )
    parser.add_argument(
        "--levers", action="store_true", help="also play the policy in the hospital with one thing more, for each thing"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print, write.

    :param args: the options
    :return: exit status
    """
    from sb3_grpo.fairness.report import FairnessReport, default_levers

    hospital = read_hospital(args)
    words = [args.policy] if args.reference in (_NONE, args.policy) else [args.reference, args.policy]
    try:
        policies = read_policies(words, hospital)
    except UsageError as error:
        raise UsageError(f"POLICY, --reference: {error}") from None
    subject = list(policies)[-1]
    levers = default_levers(hospital.scenario) if args.levers else {}
    elsewhere = {name: (subject, changed(hospital, scenario, name)) for name, scenario in levers.items()}
    console = make_console()
    try:
        with Workers(args.processes, console) as workers:
            evaluations, others = Evaluator(hospital, policies, args).run(workers, elsewhere)
    except Interrupted as interrupted:
        return interrupted.status
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    report = FairnessReport(
        evaluations,
        subject=subject,
        counterfactuals=others,
        training=training_curves(policies),
        facts=facts(evaluations, hospital),
        seed=args.seed,
    )
    write_report(report, evaluations, args, console)
    return 0
