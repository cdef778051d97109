"""``sb3-grpo target``: train GroupRobustPPO until every group gets what was promised, and check it on other patients.

A target is about what training maximises: a group's benefit less its share of the cost, per demand. The benefit rate of the
other reports, which has no cost in it, stands beside it.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from hospital_gym.groups import PUBLISHED_GROUPS, Grouping
from sb3_grpo.cli.demo import ALGORITHM, DEFAULT_STEPS
from sb3_grpo.cli.finished import FinishedModels
from sb3_grpo.cli.jobs import EvaluateJob, TrainJob
from sb3_grpo.cli.options import (
    Hospital,
    UsageError,
    add_hospital_options,
    add_run_options,
    make_folder,
    read_hospitals,
    whole_number,
)
from sb3_grpo.cli.output import command_line, hospital_description
from sb3_grpo.cli.target_report import HEADER, ModelResult, Target, findings, markdown, model_result, notes, plain, rows
from sb3_grpo.cli.workers import Interrupted, Outcome, Workers
from sb3_grpo.common.evaluation import EpisodeSet, derived_seed
from sb3_grpo.common.files import file_hash, machine, versions, write_json, write_text
from sb3_grpo.common.hyperparameters import TrainingSettings, load_settings
from sb3_grpo.group_robust_ppo import GroupRobustPPO
from sb3_grpo.training import SMOOTHING

_TRAIN, _EVALUATE = range(2)
_REFERENCE: Final = "reference"


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "target", help="train with lam='auto' for a promise to every group, and check it", description=__doc__
    )
    add_hospital_options(parser, default="Rural")
    parser.add_argument(
        "--min-benefit",
        nargs="+",
        metavar="X",
        help="least performance of every group; more words such as elderly=0.8 for groups that are promised something else",
    )
    parser.add_argument("--max-gap", type=finite_number, metavar="X", help="largest distance to the best group's performance")
    parser.add_argument(
        "--steps", type=whole_number(1), default=DEFAULT_STEPS, metavar="N", help="time steps of each model (%(default)s)"
    )
    parser.add_argument("--seeds", type=whole_number(1), default=1, metavar="N", help="number of models (%(default)s)")
    parser.add_argument(
        "--reference", metavar="ZIP", help="a saved GroupRobustPPO to judge as well, such as ppo.zip of the command demo"
    )
    add_run_options(parser, episodes=400)
    parser.add_argument("--out", default="runs/target", metavar="FOLDER", help="where results go (%(default)s)")
    parser.add_argument("--markdown", metavar="FILE", help="also write the tables to this file, in Markdown")
    parser.add_argument("--fresh", action="store_true", help="train again even if the finished models are there")
    parser.set_defaults(run=run)


def finite_number(text: str) -> float:
    """An argparse type: a finite number."""
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a finite number")
    return number


def read_target(words: list[str] | None, max_gap: float | None, names: Sequence[str]) -> Target:
    """The target that ``--min-benefit`` and ``--max-gap`` mean.

    :param words: a number for all groups, and words ``name=number`` for single groups
    :param max_gap: the other option
    :param names: names of the groups
    :raises UsageError: if a word is neither, names no group or nothing is promised at all
    """
    if words is None and max_gap is None:
        raise UsageError("got neither --min-benefit nor --max-gap, expected at least one of them")
    if max_gap is not None and max_gap < 0:
        raise UsageError(f"--max-gap: got {max_gap:g}, expected a number >= 0")
    if words is None:
        return Target(None, max_gap)
    least: dict[str, float] = {}
    for word in words:
        name, _, number = word.rpartition("=")
        if name and name not in names:
            raise UsageError(f"--min-benefit: got {word!r}, expected a group among {', '.join(names)}")
        try:
            least[name] = finite_number(number)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"--min-benefit: {error}, or one of {', '.join(names)} with '=' and a number") from None
    missing = [name for name in names if name not in least]
    if missing and "" not in least:
        raise UsageError(f"--min-benefit: got nothing for {', '.join(missing)}, expected also a number for all groups")
    return Target({name: least.get(name, least.get("", np.nan)) for name in names}, max_gap)


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, report.

    :param args: the options
    :return: exit status, 0 also where a target is missed: the table says so
    """
    target = read_target(args.min_benefit, args.max_gap, PUBLISHED_GROUPS)
    if args.markdown is not None:
        make_folder(str(Path(args.markdown).parent), "--markdown")
    if args.reference is not None and not Path(args.reference).is_file():
        raise UsageError(f"--reference: got {args.reference!r}, expected a saved model that exists")
    hospitals = read_hospitals(args)
    folder = make_folder(args.out, "--out")
    console = Console(width=None if sys.stdout.isatty() else 120)
    plans = []
    for hospital in hospitals:
        own = folder if len(hospitals) == 1 else make_folder(str(folder / hospital.name), "--out")
        settings = load_settings(ALGORITHM, hospital.env_id, GroupRobustPPO)
        plan = TargetRun(hospital, settings, target, own, args.steps, args.seeds, args.episodes, args.seed, console)
        plan.reference = None if args.reference is None else Path(args.reference)
        plans.append(plan)
    failed = False
    try:
        with Workers(args.processes, console) as workers:
            for place, plan in enumerate(plans):
                plan.begin(workers, place, args.fresh)
            for outcome in workers.outcomes():
                place, name = outcome.key
                if outcome.error is not None:
                    print(f"{plans[place].hospital.name}, {name}: {outcome.error}", file=sys.stderr)
                    failed = True
                else:
                    plans[place].take(workers, place, name, outcome)
    except Interrupted as interrupted:
        console.print("Interrupted. The same command goes on with the models that are not finished.")
        return interrupted.status
    texts = [plan.report() for plan in plans if plan.evaluated]
    if args.markdown is not None and texts:
        write_text(Path(args.markdown), "\n".join(texts))
    return 1 if failed else 0


@dataclass
class TargetRun:
    """The command for one hospital.

    :param hospital: the hospital
    :param settings: how to train for it
    :param target: what is promised
    :param folder: where its files go
    :param steps: time steps of each model
    :param n_seeds: number of models
    :param n_episodes: number of evaluation episodes
    :param seed: the user's seed
    :param console: where to report
    :param reference: a saved model that is judged as well
    :param evaluated: what happened in the evaluation episodes, by name of the model
    """

    hospital: Hospital
    settings: TrainingSettings
    target: Target
    folder: Path
    steps: int
    n_seeds: int
    n_episodes: int
    seed: int
    console: Console
    reference: Path | None = None
    evaluated: dict[str, EpisodeSet] = field(default_factory=dict)

    @property
    def seeds(self) -> dict[str, int]:
        """Training seed of each model, so far apart that no two train in environments of the same seed."""
        seeds = [self.seed + k * self.settings.n_envs for k in range(self.n_seeds)]
        return {f"seed-{seed}": seed for seed in seeds}

    @property
    def changes(self) -> dict[str, Any]:
        """Arguments of the algorithm that replace those of the settings."""
        return {"lam": "auto", **self.target._asdict(), "smoothing": SMOOTHING, "fast": True}

    @property
    def models(self) -> FinishedModels:
        """The models of the folder."""
        return FinishedModels(self.folder)

    def training_record(self, seed: int) -> dict[str, Any]:
        """Everything that a model depends on."""
        return {
            "hospital": hospital_description(self.hospital),
            "steps": self.steps,
            "seed": seed,
            "hyperparameters": asdict(self.settings) | {"changes": self.changes},
            "versions": versions(),
        }

    def begin(self, workers: Workers, place: int, fresh: bool) -> None:
        """Submit the training of models that are not there yet, and the evaluation of the others.

        :param workers: who does it
        :param place: this hospital's place among all of them; smaller ones are done first
        :param fresh: whether to train also what is there
        """
        if self.hospital.replay_note is not None:
            self._say(self.hospital.replay_note)
        if self.reference is not None:
            self._evaluate(workers, place, _REFERENCE, self.reference)
        for name, seed in self.seeds.items():
            path = self.models.path(name)
            if not fresh and self.models.has(name, self.training_record(seed)):
                self._say(f"{path}: finished before with these settings, used again")
                self._evaluate(workers, place, name, path)
                continue
            job = TrainJob(self.hospital, self.settings, self.changes, self.steps, seed, path)
            workers.submit((place, name), job, f"{self.hospital.name}: train {name}", (place, _TRAIN))

    def take(self, workers: Workers, place: int, name: str, outcome: Outcome) -> None:
        """Keep a job's result and submit what follows from it.

        :param workers: who does what follows
        :param place: as in :meth:`begin`
        :param name: the model's
        :param outcome: the job's result
        """
        if isinstance(outcome.result, float):
            path = self.models.path(name)
            self.models.add(name, self.training_record(self.seeds[name]), outcome.result)
            self._say(f"{path}: saved after {outcome.result:.0f} s of training")
            self._evaluate(workers, place, name, path)
        else:
            self.evaluated[name] = outcome.result[0]

    def _evaluate(self, workers: Workers, place: int, name: str, path: Path) -> None:
        job = EvaluateJob(self.hospital, path, self.n_episodes, derived_seed(self.seed, "report"), deterministic=False)
        workers.submit((place, name), job, f"{self.hospital.name}: evaluate {name}", (place, _EVALUATE))

    def results(self) -> list[ModelResult]:
        """What the models reach, in order of seed, the reference last."""
        shares = Grouping(self.hospital.scenario).demand_share
        paths = {name: self.models.path(name) for name in self.seeds}
        if self.reference is not None:
            paths[_REFERENCE] = self.reference
        results = []
        for name, path in paths.items():
            if name in self.evaluated:
                model = GroupRobustPPO.load(path, device="cpu")
                rng = np.random.default_rng(derived_seed(self.seed, "bootstrap"))
                results.append(model_result(model, name, self.evaluated[name], shares, self.target, rng))
        return results

    def report(self) -> str:
        """Print the table, write ``target.md`` and ``target.json``, and return the former."""
        results = self.results()
        names = next(iter(self.evaluated.values())).group_names
        table = Table(title=self._title(), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in HEADER:
            table.add_column(column)
        for row in rows(results, names):
            table.add_row(*row)
        self.console.print(table)
        for sentence in (*findings(results, names), *notes(self.n_episodes)):
            self.console.print(sentence, markup=False, highlight=False)
        text = f"### {self._title()}\n\n{markdown(results, names, self.n_episodes)}"
        write_text(self.folder / "target.md", text)
        description = {
            "hospital": hospital_description(self.hospital),
            "target": self.target._asdict(),
            "episodes": self.n_episodes,
            "seeds": {
                "training": self.seeds,
                "evaluation": derived_seed(self.seed, "report"),
                "bootstrap": derived_seed(self.seed, "bootstrap"),
            },
            "models": self.models.entries(),
            "reference": None
            if self.reference is None
            else {"file": str(self.reference), "sha256": file_hash(self.reference)},
            "results": [plain(result, names) for result in results],
            "command": command_line(),
            "versions": versions(),
            "machine": machine(),
        }
        write_json(self.folder / "target.json", description)
        self._say(f"{self.folder}: target.md, target.json, {', '.join(f'{name}.zip' for name in self.seeds)}")
        return text

    def _title(self) -> str:
        return f"{self.hospital.name}: {self.target} ({self.steps:,} time steps)"

    def _say(self, text: str) -> None:
        """Print one line that stays one line: paths are to be copied."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
