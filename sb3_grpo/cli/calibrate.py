"""``sb3-grpo calibrate``: fit arrivals, mix and lengths of stay of a hospital's own log to a scenario for Hospital-v0.

Prints how well they fit, writes the scenario as YAML, loads it and plays it under the triage rule. Exit status: 0 done, 2 an
option or the file cannot be used (the message names line and column).
"""

import argparse
from typing import Any

from rich.text import Text

from sb3_grpo.cli.evaluation import make_console
from sb3_grpo.cli.options import UsageError, make_folder, whole_number
from sb3_grpo.cli.records import add_records_options, output_folder, read_columns
from sb3_grpo.common.files import write_json, write_text

_EPISODES = 2
_LOADED, _IDLE = 1.3, 0.5  # offered loads of all beds at which the beds and the patients are hardly of one hospital


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "calibrate",
        help="fit a scenario to a hospital's own log",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_records_options(parser)
    parser.add_argument(
        "--base", default="Urban", metavar="NAME", help="scenario or YAML file for all that the log does not say (%(default)s)"
    )
    parser.add_argument("--name", help="name of the scenario (default: that of the file)")
    parser.add_argument(
        "--fit", default="arrivals,mix,stays", metavar="PARTS", help="what to fit, separated by commas (%(default)s)"
    )
    parser.add_argument("--output", metavar="FOLDER", help="where to write (default: runs/calibrate/<name of the file>)")
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0, metavar="N", help="(%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, fit, print, write, play.

    :param args: the options
    :return: exit status
    """
    from hospital_gym.scenarios import load_scenario
    from sb3_grpo.calibration import PARTS, calibrate, read_stays, scenario_name, scenario_yaml
    from sb3_grpo.calibration.show import draw, summary, to_dict
    from sb3_grpo.fairness.audit import RecordsError

    columns = read_columns(args)
    parts = tuple(part.strip() for part in args.fit.split(","))
    if not set(parts) <= set(PARTS):
        raise UsageError(f"--fit: got {args.fit!r}, expected some of {', '.join(PARTS)}, separated by commas")
    try:
        base = load_scenario(args.base)
    except ValueError as error:
        raise UsageError(f"--base: {error}") from None
    folder = make_folder(str(output_folder(args.output, args.records, "calibrate")), "--output")
    try:
        stays = read_stays(args.records, columns, args.bad_rows)
        found = calibrate(stays, base, args.name or scenario_name(args.records), parts, args.seed)
    except RecordsError as error:
        raise UsageError(str(error)) from None
    except ValueError as error:
        raise UsageError(f"the fitted numbers are outside what a scenario accepts: {error}") from None
    console = make_console()
    console.print(summary(found))
    file = folder / "scenario.yml"
    write_text(file, scenario_yaml(found, args.base if args.base.endswith((".yml", ".yaml")) else None))
    write_json(folder / "calibration.json", to_dict(found))
    draw(folder / "calibration.png", found)
    for sentence in _play(load_scenario(str(file)), args.seed):
        console.print(Text(sentence))
    names = "scenario.yml, calibration.json, calibration.png"
    console.print(f"{folder}: {names}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _play(scenario: Any, seed: int) -> list[str]:
    """Play a scenario under the triage rule: that it can be, and whether its beds and its patients go together."""
    from hospital_gym.workload import triage_workload
    from sb3_grpo.common.evaluation import derived_seed

    load = scenario.offered_load_all_beds
    workload = triage_workload(scenario, _EPISODES, derived_seed(seed, "report"))
    a_day = workload.patients / scenario.horizon_hours * 24
    said = [
        f"Played under triage, {_EPISODES} episodes: {a_day:.1f} arrivals a day. Offered load of all {sum(scenario.beds)} "
        f"beds: {load:.2f}."
    ]
    if not _IDLE <= load <= _LOADED:
        said.append(
            "The beds are those of the base and do not go with these patients: set beds, nurses and levers to the hospital's "
            "own in scenario.yml before anything is concluded."
        )
    return said
