"""``sb3-grpo masks``: train GroupRobustMaskablePPO in each hospital and count how often it picks an invalid action."""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from callbacks.progress import ProgressCallback
from sb3_grpo.cli.jobs import Stopped
from sb3_grpo.cli.options import ALL, Hospital, add_scenario_option, make_folder, read_hospitals, whole_number
from sb3_grpo.cli.workers import Interrupted, Workers
from sb3_grpo.common.files import write_text
from sb3_grpo.common.hyperparameters import TrainingSettings, load_settings
from sb3_grpo.group_robust_ppo import GroupRobustMaskablePPO

_HEADER: Final = ("hospital", "decisions", "of which with more than one valid action", "invalid actions", "at most")
_NOTE: Final = (
    "Every action drawn in training is counted. At most: upper 95 % limit of the share of invalid actions (Clopper-Pearson, "
    "as if decisions were independent)."
)


@dataclass(frozen=True)
class Counts:
    """What one training did.

    :param decisions: number of actions
    :param with_choice: number of decisions in which more than one action was valid
    :param invalid: number of invalid actions
    """

    decisions: int
    with_choice: int
    invalid: int

    @property
    def upper_limit(self) -> float:
        """Upper 95 % limit of the probability of an invalid action (Clopper-Pearson, one-sided)."""
        result = binomtest(self.invalid, self.decisions, alternative="less")
        return float(result.proportion_ci(0.95, method="exact").high)


class CountInvalidActions(BaseCallback):
    """Counts valid and invalid actions of an algorithm that uses masks, in environments that report invalid actions."""

    def __init__(self) -> None:
        super().__init__()
        self.with_choice = 0
        self.invalid = 0

    def _on_step(self) -> bool:
        self.with_choice += int((self.locals["action_masks"].sum(axis=1) > 1).sum())
        self.invalid += sum(bool(info["invalid_action"]) for info in self.locals["infos"])
        return True


@dataclass(frozen=True)
class MasksJob:
    """Train and count; ``run`` returns :class:`Counts`.

    :param hospital: where to train
    :param settings: how to train; of the policy only that it is a network of this size
    :param decisions: least number of decisions: the last rollout is completed
    :param seed: training seed
    """

    hospital: Hospital
    settings: TrainingSettings
    decisions: int
    seed: int

    @property
    def total(self) -> int:
        """What ``report`` counts up to."""
        return self.decisions

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> Counts:
        """Train.

        :param report: called with the decisions made
        :param stopped: whether the user asked to stop
        :return: the counts
        :raises Stopped: if the user asked to stop
        """
        venv: VecEnv = make_vec_env(self.hospital.make_env, n_envs=self.settings.n_envs, seed=self.seed)
        if self.settings.normalize is not None:
            venv = VecNormalize(venv, gamma=self.settings.algorithm.get("gamma", 0.99), **self.settings.normalize)
        model = GroupRobustMaskablePPO("MlpPolicy", venv, seed=self.seed, device="cpu", **self.settings.arguments())
        count = CountInvalidActions()
        progress = ProgressCallback(report, stopped, every=max(1, self.decisions // 200))
        model.learn(self.decisions, callback=[*self.settings.make_callbacks(), count, progress])
        venv.close()
        if stopped():
            raise Stopped
        return Counts(model.num_timesteps, count.with_choice, count.invalid)


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("masks", help="count invalid actions in masked training", description=__doc__)
    add_scenario_option(parser, default=ALL)
    parser.add_argument(
        "--decisions", type=whole_number(1), default=1_000_000, metavar="N", help="decisions in each hospital (%(default)s)"
    )
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0, metavar="N", help="training seed (%(default)s)")
    parser.add_argument("--processes", type=whole_number(1), default=2, metavar="N", help="processes at a time (%(default)s)")
    parser.add_argument("--markdown", metavar="FILE", help="also write the table to this file, in Markdown")
    parser.set_defaults(run=run, arrivals=None)


def run(args: argparse.Namespace) -> int:
    """Train in each hospital and print the table.

    :param args: the options
    :return: exit status; 1 also if there were invalid actions
    """
    if args.markdown is not None:
        make_folder(str(Path(args.markdown).parent), "--markdown")
    hospitals = read_hospitals(args)
    console = Console(width=None if sys.stdout.isatty() else 120)
    counts: dict[str, Counts] = {}
    try:
        with Workers(args.processes, console) as workers:
            for place, hospital in enumerate(hospitals):
                settings = load_settings("group_robust_maskable_ppo", hospital.env_id, GroupRobustMaskablePPO)
                job = MasksJob(hospital, settings, args.decisions, args.seed)
                workers.submit(hospital.name, job, f"{hospital.name}: train", (place,))
            for outcome in workers.outcomes():
                if outcome.error is not None:
                    print(outcome.error, file=sys.stderr)
                    return 1
                counts[outcome.key] = outcome.result
    except Interrupted as interrupted:
        return interrupted.status
    rows = _rows({hospital.name: counts[hospital.name] for hospital in hospitals})
    _print(console, rows)
    if args.markdown is not None:
        write_text(Path(args.markdown), _markdown(rows))
    return 1 if any(count.invalid for count in counts.values()) else 0


def _rows(counts: Mapping[str, Counts]) -> list[tuple[str, ...]]:
    return [
        (name, f"{count.decisions:,}", f"{count.with_choice:,}", f"{count.invalid:,}", f"{count.upper_limit:.1e}")
        for name, count in counts.items()
    ]


def _print(console: Console, rows: list[tuple[str, ...]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(_HEADER[0])
    for column in _HEADER[1:]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(_NOTE, style="dim")


def _markdown(rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (_HEADER, *rows)]
    lines.insert(1, "|---" + "|---:" * (len(_HEADER) - 1) + "|")
    return "\n".join([*lines, "", _NOTE, ""])
