"""``sb3-grpo demo``: train plain PPO and GroupRobustPPO for a hospital, and compare them with the rules in use today."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console

from sb3_grpo.cli.chart import draw_comparison
from sb3_grpo.cli.jobs import EvaluateJob, TrainJob
from sb3_grpo.cli.options import (
    ALL,
    Hospital,
    add_hospital_options,
    add_run_options,
    make_folder,
    read_hospitals,
    whole_number,
)
from sb3_grpo.cli.output import command_line, hospital_description, write_records
from sb3_grpo.cli.rules import attainable_rates, group_first_rules, rules_for
from sb3_grpo.cli.tables import markdown_comparison, print_comparison
from sb3_grpo.cli.workers import Interrupted, Outcome, Workers
from sb3_grpo.common.evaluation import EpisodeSet, derived_seed
from sb3_grpo.common.files import file_hash, machine, versions, write_json, write_text
from sb3_grpo.common.hyperparameters import TrainingSettings, load_settings
from sb3_grpo.fairness.inference import Comparison, compare_policies
from sb3_grpo.group_robust_ppo import GroupRobustPPO

ALGORITHM: Final = "group_robust_ppo"
DEFAULT_STEPS: Final = 1_000_000
"""Time steps of each model: what the settings of the hospitals say, a few minutes on two cores."""

DEFAULT_EPISODES: Final = 100
_RECORDED_RULE: Final = "triage"  # whose patients stand in records.csv beside those of the two models


class Model(NamedTuple):
    """One of the models that the demo trains.

    :param changes: algorithm arguments that differ from those in the hospital's YAML file
    :param label: what tables call it
    """

    changes: dict[str, Any]
    label: str


MODELS: Final[dict[str, Model]] = {
    # The same discount on elapsed time as GroupRobustPPO: a baseline with another discount would prove nothing.
    "ppo": Model({"lam": 0.0, "group_critic": False}, "PPO (lam=0)"),
    "group_robust_ppo": Model({"lam": 0.3}, "GroupRobustPPO (lam=0.3)"),
}
"""What is trained, by name: the reference of all differences first."""

ABLATIONS: Final[dict[str, Model]] = {
    # With these arguments the algorithm is Stable-Baselines3's PPO, bit for bit.
    "sb3_ppo": Model({"lam": 0.0, "group_critic": False, "discount_time": False}, "SB3 PPO, gamma per step"),
    "ppo_group_critic": Model({"lam": 0.0, "group_critic": True}, "PPO (lam=0), group critic"),
}
"""What ``--ablations`` trains as well: what the discount and the group critic do by themselves."""

_REFERENCE: Final = "ppo"
_MOST_LIKELY: Final = "-most-likely"
"""What follows a model's name where it takes its most likely action. Otherwise it draws from its distribution, as trained:
among patients whom it values nearly alike, always serving the slightly preferred group is another policy than sharing."""

_MANY_INVALID: Final = 0.01  # share of invalid actions from which on a result is not the model's alone
_COMPARISON_FILES: Final = ("comparison.json", "comparison.md", "comparison.png", "records.csv")
_TRAIN, _EVALUATE_RULE, _EVALUATE_MODEL = range(3)  # order of work for one hospital


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "demo", help="train two models for a hospital and compare them with rules in use", description=__doc__
    )
    add_hospital_options(parser, default="Urban")
    parser.add_argument(
        "--steps", type=whole_number(1), default=DEFAULT_STEPS, metavar="N", help="time steps of each model (%(default)s)"
    )
    add_run_options(parser, episodes=DEFAULT_EPISODES)
    parser.add_argument("--out", default="runs/demo", metavar="FOLDER", help="where results go (%(default)s)")
    parser.add_argument(
        "--ablations", action="store_true", help="also train PPO with a discount per step, and lam=0 with a group critic"
    )
    parser.add_argument("--fresh", action="store_true", help="train again even if the finished models are there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, compare.

    :param args: the options
    :return: exit status
    """
    began = time.perf_counter()
    hospitals = read_hospitals(args)
    folder = make_folder(args.out, "--out")
    console = Console(width=None if sys.stdout.isatty() else 120)
    models = {**MODELS, **ABLATIONS} if args.ablations else MODELS
    plans = []
    for hospital in hospitals:
        own = make_folder(str(folder / hospital.name), "--out") if args.scenario == ALL else folder
        settings = load_settings(ALGORITHM, hospital.env_id, GroupRobustPPO)
        plans.append(HospitalDemo(hospital, settings, own, args.steps, args.episodes, args.seed, console, models))
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
                elif plans[place].take(workers, place, name, outcome):
                    plans[place].finish(time.perf_counter() - began)
    except Interrupted as interrupted:
        for plan in plans:
            plan.say_what_is_there()
        console.print("Interrupted. The same command goes on from there.")
        return interrupted.status
    return 1 if failed else 0


@dataclass
class HospitalDemo:
    """The demo for one hospital: which jobs it needs, what they gave, and the files made of it.

    :param hospital: the hospital
    :param settings: how to train for it
    :param folder: where its files go
    :param steps: time steps of each model
    :param n_episodes: number of evaluation episodes
    :param seed: the user's seed
    :param console: where to report
    :param models: what is trained
    """

    hospital: Hospital
    settings: TrainingSettings
    folder: Path
    steps: int
    n_episodes: int
    seed: int
    console: Console
    models: Mapping[str, Model] = field(default_factory=lambda: MODELS)
    evaluated: dict[str, EpisodeSet] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=lambda: {"training": {}, "evaluation": {}})
    rules: list[str] = field(default_factory=list)
    group_first: list[str] = field(default_factory=list)

    @property
    def labels(self) -> dict[str, str]:
        """What tables call each model, drawing its actions and taking the most likely ones; by name."""
        drawn = {name: model.label for name, model in self.models.items()}
        return {**drawn, **{f"{name}{_MOST_LIKELY}": f"{label}, most likely" for name, label in drawn.items()}}

    def begin(self, workers: Workers, place: int, fresh: bool) -> None:
        """Submit the training of models that are not there yet, and the evaluation of everything else.

        :param workers: who does it
        :param place: this hospital's place among all of them; smaller ones are done first
        :param fresh: whether to train also what is there
        """
        self.rules, missing = rules_for(self.hospital)
        self.group_first = group_first_rules(self.hospital)
        if self.hospital.replay_note is not None:
            self._say(self.hospital.replay_note)
        for name in missing:
            self._say(f"{self.hospital.name}: no thresholds were tuned for this hospital, so {name} is left out")
        for name in self.models:
            if not fresh and self.is_finished(name):
                self.seconds["training"][name] = self._finished()[name]["seconds"]
                self._say(f"{self.folder / name}.zip: finished before with these settings, used again")
                self._submit_model(workers, place, name)
                continue
            for file in _COMPARISON_FILES:  # they would not belong to the new model
                (self.folder / file).unlink(missing_ok=True)
            job = TrainJob(
                self.hospital, self.settings, self.models[name].changes, self.steps, self.seed, self.folder / f"{name}.zip"
            )
            workers.submit((place, name), job, f"{self.hospital.name}: train {self.models[name].label}", (place, _TRAIN))
        for name in (*self.rules, *self.group_first):
            self._submit_evaluation(workers, place, name, _EVALUATE_RULE)

    def take(self, workers: Workers, place: int, name: str, outcome: Outcome) -> bool:
        """Keep a job's result and submit what follows from it.

        :param workers: who does what follows
        :param place: as in :meth:`begin`
        :param name: the policy the job was about
        :param outcome: the job's result
        :return: whether everything is there for the comparison
        """
        if isinstance(outcome.result, float):
            self.seconds["training"][name] = outcome.result
            finished = self._finished()
            finished[name] = {
                "settings": self._training_record(name),
                "seconds": outcome.result,
                "sha256": file_hash(self.folder / f"{name}.zip"),
            }
            write_json(self.folder / "settings.json", {"models": finished})
            self._say(f"{self.folder / name}.zip: saved after {outcome.result:.0f} s of training")
            self._submit_model(workers, place, name)
        else:
            self.evaluated[name], self.seconds["evaluation"][name] = outcome.result
        return set(self.evaluated) == {*self.labels, *self.rules, *self.group_first}

    def finish(self, wall_seconds: float) -> Comparison:
        """Compare, print the table and write the files.

        :param wall_seconds: seconds since the command began
        :return: the comparison
        """
        policies = {name: self.evaluated[name] for name in (*self.labels, *self.rules)}
        comparison = compare_policies(
            {name: episodes.totals() for name, episodes in policies.items()},
            {name: episodes.costs for name, episodes in policies.items()},
            policies[_REFERENCE].group_names,
            np.random.default_rng(derived_seed(self.seed, "bootstrap")),
            reference=_REFERENCE,
        )
        title = f"{self.hospital.name}: {self.n_episodes} episodes, the same patients for every policy"
        attainable = attainable_rates(self.evaluated)
        print_comparison(self.console, comparison, attainable, self.labels, title)
        table = markdown_comparison(comparison, attainable, self.labels)
        write_text(self.folder / "comparison.md", f"### {title}\n\n{table}")
        for name, label in self.labels.items():
            share = self.evaluated[name].invalid_actions.sum() / self.evaluated[name].decisions.sum()
            if share > _MANY_INVALID:
                self._say(f"{label}: {share:.0%} of its actions were invalid, and the triage rule acted in its place")
        draw_comparison(self.folder / "comparison.png", comparison, self.labels, title)
        recorded = [name for name in (*self.models, _RECORDED_RULE) if name in policies]
        write_records(self.folder / "records.csv", {name: policies[name] for name in recorded})
        write_json(self.folder / "comparison.json", self._description(comparison, wall_seconds))
        files = [*_COMPARISON_FILES, *(f"{name}.zip" for name in self.models)]
        self._say(f"{self.folder}: {', '.join(files)}")
        self.evaluated.clear()  # a hundred megabytes a hospital
        return comparison

    def say_what_is_there(self) -> None:
        """Say which models are finished and whether they were compared."""
        finished = [f"{name}.zip" for name in self.models if self.is_finished(name)]
        missing = [f"{name}.zip" for name in self.models if not self.is_finished(name)]
        parts = [f"finished: {', '.join(finished) or 'nothing'}"]
        if missing:
            parts.append(f"not finished: {', '.join(missing)}")
        parts.append("compared" if (self.folder / "comparison.json").is_file() else "not compared yet")
        self._say(f"{self.folder}: {'; '.join(parts)}")

    def _say(self, text: str) -> None:
        """Print one line that stays one line: paths are to be copied."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _submit_model(self, workers: Workers, place: int, model: str) -> None:
        """Submit the evaluation of a finished model, drawing its actions and taking the most likely ones."""
        for name in (model, f"{model}{_MOST_LIKELY}"):
            self._submit_evaluation(workers, place, name, _EVALUATE_MODEL)

    def _submit_evaluation(self, workers: Workers, place: int, name: str, stage: int) -> None:
        policy = self.folder / f"{name.removesuffix(_MOST_LIKELY)}.zip" if name in self.labels else name
        seed = derived_seed(self.seed, "report")
        job = EvaluateJob(self.hospital, policy, self.n_episodes, seed, deterministic=name not in self.models)
        workers.submit((place, name), job, f"{self.hospital.name}: evaluate {self.labels.get(name, name)}", (place, stage))

    def _training_record(self, name: str) -> dict[str, Any]:
        """Everything that a model depends on."""
        return {
            "hospital": hospital_description(self.hospital),
            "steps": self.steps,
            "seed": self.seed,
            "hyperparameters": asdict(self.settings) | {"changes": self.models[name].changes},
            "versions": versions(),
        }

    def _finished(self) -> dict[str, Any]:
        """What ``settings.json`` says about the models that were finished; nothing if it is not there or not ours."""
        try:
            content = json.loads((self.folder / "settings.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        models = content.get("models") if isinstance(content, dict) else None
        return models if isinstance(models, dict) else {}

    def is_finished(self, name: str) -> bool:
        """Whether the model is there, whole, and was trained with exactly these settings."""
        entry, path = self._finished().get(name), self.folder / f"{name}.zip"
        return (
            entry is not None
            and path.is_file()
            and entry.get("sha256") == file_hash(path)
            and entry.get("settings") == json.loads(json.dumps(self._training_record(name)))
        )

    def _description(self, comparison: Comparison, wall_seconds: float) -> dict[str, Any]:
        return {
            "hospital": hospital_description(self.hospital),
            "episodes": self.n_episodes,
            "arrival_windows": self.hospital.arrival_windows,
            "policies_in_records_csv": [name for name in (*self.models, _RECORDED_RULE) if name in self.evaluated],
            "seeds": {
                "training": self.seed,
                "evaluation": derived_seed(self.seed, "report"),
                "bootstrap": derived_seed(self.seed, "bootstrap"),
            },
            "models": self._finished(),
            "decisions_per_episode": {name: float(e.decisions.mean()) for name, e in self.evaluated.items()},
            "invalid_actions_per_episode": {name: float(e.invalid_actions.mean()) for name, e in self.evaluated.items()},
            "comparison": comparison.to_dict(),
            "attainable": attainable_rates(self.evaluated),
            "command": command_line(),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": {**self.seconds, "since_the_command_began": wall_seconds},
            "versions": versions(),
            "machine": machine(),
        }
