"""The command ``sb3-grpo``: one file per subcommand, each with ``add_parser`` and ``run``.

============= ======================================================================================
audit.py      report what happened to each group in a hospital's own log
calibrate.py  fit a scenario to a hospital's own log
compare.py    compare models and rules on the same patients
coverage.py   simulate how often intervals cover a known truth
diagnose.py   train and cross-validate diagnosis policies on a table of cases; diagnose_table.py reads it,
              diagnose_dynamics.py draws its curves
demo.py       train plain PPO and GroupRobustPPO for a hospital and compare them with the rules in use
evaluate.py   report what a policy does to each group
heuristics.py compare the rules in use today
masks.py      count invalid actions in training with masks
monitor.py    watch a hospital's own log over time
report.py     say what a study found, in tables and figures
scenarios.py  print what each hospital is: load, staff, decisions per episode
study.py      do a declared grid of trainings and evaluations
target.py     train for a promise to every group and check it; target_report.py its tables
train.py      train one model, in one process or several; checkpoints.py what an interruption leaves
tune.py       tune a rule's thresholds
warn.py       train policies that warn of deaths in intensive care and judge them; warn_report.py writes that down
zoo.py        hand over to RL Baselines3 Zoo
------------- --------------------------------------------------------------------------------------
options.py    reading and checking options
jobs.py       what runs in a worker process: train a model, evaluate a policy
evaluation.py what evaluate and compare share; play_job.py their part in a worker process, diagnose_job.py diagnose's,
              warn_job.py warn's
workers.py    the worker processes, their progress display, and how they are interrupted
finished.py   which models of a folder are finished
records.py    how the log of a hospital is to be read
output.py     records as CSV, and the command and hospital behind a result
tables.py     the comparison as a table for the terminal and for Markdown
chart.py      the comparison as a picture
============= ======================================================================================
"""

import sys
from collections.abc import Sequence
from typing import Final

from sb3_grpo import __version__
from sb3_grpo.cli import (
    audit,
    calibrate,
    compare,
    coverage,
    demo,
    diagnose,
    evaluate,
    heuristics,
    masks,
    monitor,
    report,
    scenarios,
    study,
    target,
    train,
    tune,
    warn,
    zoo,
)
from sb3_grpo.cli.options import OneLineParser, UsageError

_COMMANDS: Final = (
    audit,
    calibrate,
    compare,
    coverage,
    demo,
    diagnose,
    evaluate,
    heuristics,
    masks,
    monitor,
    report,
    scenarios,
    study,
    target,
    train,
    tune,
    warn,
    zoo,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the words after the program's name; default: those of this process
    :return: exit status: 0 done, 1 failed, 2 bad options or file, 3 a limit was passed (monitor), 130 interrupted (Ctrl-C),
        143 terminated
    """
    parser = OneLineParser(prog="sb3-grpo", description="Group-robust policies for hospitals: train, compare, inspect.")
    parser.add_argument("--version", action="version", version=f"sb3-grpo {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except UsageError as error:
        print(f"sb3-grpo {args.command}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"sb3-grpo {args.command}: interrupted", file=sys.stderr)
        return 130
