"""``sb3-grpo tune``: search the escalation thresholds with which a rule is most efficient, on episodes set apart for it."""

import argparse
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console

from hospital_gym.heuristics import RULES, Escalation, HeuristicPolicy
from hospital_gym.threshold_search import search_thresholds
from sb3_grpo.cli.options import Hospital, add_run_options, add_scenario_option, read_hospitals, whole_number
from sb3_grpo.common.evaluation import derived_seed, evaluate_episodes


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("tune", help="tune a rule's thresholds for efficiency", description=__doc__)
    add_scenario_option(parser, default="Urban")
    parser.add_argument("--rule", default="c-mu", choices=sorted(RULES), help="order of the classes (default: %(default)s)")
    add_run_options(parser, episodes=32, processes=False)
    parser.add_argument("--generations", type=whole_number(1), default=25, metavar="N", help="rounds (default: %(default)s)")
    parser.set_defaults(run=run, arrivals=None)


def efficiency(hospital: Hospital, policy: HeuristicPolicy, n_episodes: int, seed: int) -> float:
    """Benefit less cost per demand of a rule on the first validation episodes of a seed.

    :param hospital: the hospital
    :param policy: the rule
    :param n_episodes: number of episodes
    :param seed: the user's seed
    """
    episodes = evaluate_episodes(policy, hospital.make_env, n_episodes, derived_seed(seed, "validation"), n_envs=n_episodes)
    totals = episodes.totals()
    return float((totals.benefit.sum() - episodes.costs.sum()) / totals.demand.sum())


def run(args: argparse.Namespace) -> int:
    """Search, print.

    :param args: the options
    :return: exit status
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    for hospital in read_hospitals(args):
        index = RULES[args.rule](hospital.scenario)
        best = -float("inf")

        def score(escalation: Escalation, hospital: Hospital = hospital, index: Any = index) -> float:
            nonlocal best
            reached = efficiency(hospital, HeuristicPolicy(hospital.scenario, index, escalation), args.episodes, args.seed)
            if reached > best:
                best = reached
                console.print(f"{hospital.name}: efficiency {reached:.4f} with {asdict(escalation)}")
            return reached

        search_thresholds(score, args.generations, args.seed)
    return 0
