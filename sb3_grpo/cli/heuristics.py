"""``sb3-grpo heuristics``: compare the rules in use today on the same episodes."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hospital_gym.degenerate import DEGENERATE_POLICIES
from hospital_gym.heuristics import HEURISTICS
from sb3_grpo.cli.jobs import EvaluateJob
from sb3_grpo.cli.options import ALL, UsageError, add_hospital_options, add_run_options, make_folder, read_hospitals
from sb3_grpo.cli.rules import attainable_rates, group_first_rules, rules_for
from sb3_grpo.cli.tables import markdown_comparison, print_comparison
from sb3_grpo.cli.workers import Interrupted, Workers
from sb3_grpo.common.evaluation import EpisodeSet, derived_seed
from sb3_grpo.common.files import write_text
from sb3_grpo.fairness.inference import Comparison, compare_policies


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("heuristics", help="compare the rules in use today", description=__doc__)
    add_hospital_options(parser, default=ALL)
    add_run_options(parser, episodes=100)
    parser.add_argument(
        "--reference", default="triage", metavar="RULE", help="rule that differences refer to (default: %(default)s)"
    )
    parser.add_argument(
        "--degenerate", action="store_true", help="also policies that exploit one liberty whenever they may: none may pay"
    )
    parser.add_argument("--markdown", metavar="FILE", help="also write the tables to this file, in Markdown")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate and compare.

    :param args: the options
    :return: exit status
    """
    if args.reference not in HEURISTICS:
        raise UsageError(f"--reference: got {args.reference!r}, expected one of {', '.join(HEURISTICS)}")
    if args.markdown is not None:
        make_folder(str(Path(args.markdown).parent), "--markdown")
    hospitals = read_hospitals(args)
    rules = [rules_for(hospital)[0] for hospital in hospitals]
    for hospital, names in zip(hospitals, rules, strict=True):
        if args.reference not in names:
            raise UsageError(f"--reference: got {args.reference!r}, expected one of {', '.join(names)} in {hospital.name}")
    first = [group_first_rules(hospital) for hospital in hospitals]
    if args.degenerate:
        rules = [[*names, *DEGENERATE_POLICIES] for names in rules]
    console = Console(width=None if sys.stdout.isatty() else 120)
    for note in filter(None, (hospital.replay_note for hospital in hospitals)):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    evaluated: list[dict[str, EpisodeSet]] = [{} for _ in hospitals]
    sections: dict[int, str] = {}
    try:
        with Workers(args.processes, console) as workers:
            for place, hospital in enumerate(hospitals):
                for name in (*rules[place], *first[place]):
                    job = EvaluateJob(hospital, name, args.episodes, derived_seed(args.seed, "report"))
                    workers.submit((place, name), job, f"{hospital.name}: {name}", (place,))
            for outcome in workers.outcomes():
                if outcome.error is not None:
                    print(outcome.error, file=sys.stderr)
                    return 1
                place, name = outcome.key
                evaluated[place][name] = outcome.result[0]
                if len(evaluated[place]) == len(rules[place]) + len(first[place]):
                    comparison = compare(evaluated[place], rules[place], args.reference, args.seed)
                    title = f"{hospitals[place].name}: {args.episodes} episodes, the same patients for every rule"
                    attainable = attainable_rates(evaluated[place])
                    print_comparison(console, comparison, attainable, {}, title)
                    sections[place] = f"### {title}\n\n{markdown_comparison(comparison, attainable, {})}"
    except Interrupted as interrupted:
        return interrupted.status
    if args.markdown is not None:
        text = "\n".join(sections[place] for place in sorted(sections))
        write_text(Path(args.markdown), text)
    return 0


def compare(evaluated: dict[str, EpisodeSet], order: list[str], reference: str, seed: int) -> Comparison:
    """Compare rules that played the same episodes.

    :param evaluated: what happened under each rule
    :param order: names in the order of the table
    :param reference: rule that differences refer to
    :param seed: the user's seed
    :return: the comparison
    """
    return compare_policies(
        {name: evaluated[name].totals() for name in order},
        {name: evaluated[name].costs for name in order},
        evaluated[reference].group_names,
        np.random.default_rng(derived_seed(seed, "bootstrap")),
        reference=reference,
    )
