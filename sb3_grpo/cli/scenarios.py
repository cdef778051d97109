"""``sb3-grpo scenarios``: what each hospital is, and what the triage rule makes of it."""

import argparse
import sys
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from hospital_gym.records import BED_TYPES
from hospital_gym.workload import SHIFT_NAMES, Workload, offered_load_by_shift, triage_workload
from sb3_grpo.cli.options import ALL, Hospital, add_scenario_option, read_hospitals, whole_number
from sb3_grpo.common.evaluation import derived_seed


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("scenarios", help="print load, staff and size of each hospital", description=__doc__)
    add_scenario_option(parser, default=ALL)
    parser.add_argument(
        "--episodes", type=whole_number(1), default=100, metavar="N", help="episodes of the triage rule (%(default)s)"
    )
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0, metavar="N", help="their seed (%(default)s)")
    parser.set_defaults(run=run, arrivals=None)


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    :param args: the options
    :return: exit status
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    for hospital in read_hospitals(args):
        workload = triage_workload(hospital.scenario, args.episodes, derived_seed(args.seed, "report"))
        _print_hospital(console, hospital, workload)
    console.print(
        "Offered load: beds asked for per regular bed if everybody got one at once (weekly arrival profile, no ramp). Need "
        "for nurses: at full census, per nurse rostered.",
        style="dim",
    )
    console.print(
        f"In use: occupied bed-hours per open bed-hour and needed nurse-hours per rostered nurse present, under the triage "
        f"rule, {args.episodes} episodes. Surge beds count as open; nurses called in by a lever do not count as present.",
        style="dim",
    )
    return 0


def _print_hospital(console: Console, hospital: Hospital, workload: Workload) -> None:
    scenario = hospital.scenario
    ramp = f" x ramp up to {max(factor for _, factor in scenario.ramp):g}" if scenario.ramp else ""
    title = (
        f"{hospital.name}: {sum(scenario.beds)} beds, {sum(scenario.nurses)} nurses a day, "
        f"{scenario.requests_per_day:g} requests a day{ramp}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("beds")
    for column in ("number", "offered load", *SHIFT_NAMES, "in use"):
        table.add_column(column, justify="right")
    load = offered_load_by_shift(scenario)
    beds = np.asarray(scenario.beds, dtype=np.float64)
    for bed, name in enumerate(BED_TYPES):
        numbers = (scenario.offered_load[bed], *load[bed], workload.bed_use[bed])
        table.add_row(name, str(scenario.beds[bed]), *(f"{number:.2f}" for number in numbers))
    together = load[beds > 0].T @ beds[beds > 0] / beds.sum()
    table.add_row("all", str(sum(scenario.beds)), *(f"{n:.2f}" for n in (scenario.offered_load_all_beds, *together)), "")
    table.add_section()
    table.add_row("nurses rostered", str(sum(scenario.nurses)), "", *map(str, scenario.nurses), "")
    need = scenario.nurses_needed / np.asarray(scenario.nurses)
    table.add_row("need per nurse", "", "", *(f"{number:.2f}" for number in need), "")
    table.add_row("nurses in use", "", "", *(f"{number:.2f}" for number in workload.nurse_use), "")
    console.print(table)
    console.print(
        f"An episode of {scenario.horizon_hours:g} h: {workload.decisions:.0f} decisions, {workload.patients:.0f} patients "
        f"arrive, at most {workload.most_patients} at once.\n",
        highlight=False,
    )
