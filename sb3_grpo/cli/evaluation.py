"""What the commands ``evaluate`` and ``compare`` share: options, the work, and the files."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from hospital_gym.heuristics import HEURISTICS
from hospital_gym.scenarios import Scenario
from sb3_grpo.cli.options import (
    ALL,
    Hospital,
    UsageError,
    add_hospital_options,
    add_run_options,
    make_folder,
    read_hospitals,
    whole_number,
)
from sb3_grpo.cli.output import command_line, write_records
from sb3_grpo.cli.play_job import PlayJob
from sb3_grpo.cli.rules import rules_for
from sb3_grpo.cli.workers import Workers
from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.common.files import versions, write_text
from sb3_grpo.fairness.evaluate import next_number, widest_interval
from sb3_grpo.fairness.evaluation_data import BENEFIT_RATE, Evaluation, EvaluationSet, Precision, joined
from sb3_grpo.fairness.players import make_players
from sb3_grpo.fairness.venue import open_venue

if TYPE_CHECKING:
    from sb3_grpo.fairness.report import FairnessReport

ALIASES: Final = {"fifo": "first-come", "fcfs": "first-come"}
"""Other names of rules."""

_MOST_FACTOR: Final = 20  # limit of half-width's episodes, in units of the episodes asked for


def add_evaluation_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Add what both commands understand."""
    add_hospital_options(parser, default="Urban")
    add_run_options(parser, episodes=100)
    parser.add_argument(
        "--deterministic", action="store_true", help="models take their most likely action (they draw, as in training)"
    )
    parser.add_argument(
        "--half-width",
        type=_positive,
        metavar="W",
        help="add episodes until no 95 %% interval of a group rate is wider than 2 W",
    )
    parser.add_argument(
        "--most-episodes", type=whole_number(1), metavar="N", help="where --half-width stops (20 times --episodes)"
    )
    parser.add_argument("--out", default=out, metavar="FOLDER", help="where results go (%(default)s)")
    parser.add_argument("--html", metavar="FILE", help="where the page goes instead (report.html in the folder)")


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number > 0")
    return number


def read_hospital(args: argparse.Namespace) -> Hospital:
    """The one hospital that ``--scenario`` means; folders for results have been made.

    :raises UsageError: if it means several, or nothing usable, or results cannot be written
    """
    make_folder(args.out, "--out")
    if args.html is not None:
        make_folder(str(Path(args.html).parent), "--html")
    if args.scenario == ALL:
        raise UsageError(f"--scenario: got {ALL!r}, expected one hospital")
    if args.most_episodes is not None and (args.half_width is None or args.most_episodes < args.episodes):
        raise UsageError(
            f"--most-episodes: got {args.most_episodes}, expected --half-width, and a number >= {args.episodes} (--episodes)"
        )
    return read_hospitals(args)[0]


def read_policies(words: Sequence[str], hospital: Hospital) -> dict[str, str | Path]:
    """The policies that words on the command line mean, by the name that tables give them.

    :param words: names of rules and paths of models
    :param hospital: where they will play
    :raises UsageError: if a word means no policy, or two mean the same one
    """
    there, missing = rules_for(hospital)
    policies: dict[str, str | Path] = {}
    policy: str | Path
    for word in words:
        rule = ALIASES.get(word, word)
        if rule in there:
            name, policy = rule, rule
        elif rule in missing:
            raise UsageError(f"got {word!r}, whose thresholds were not tuned in {hospital.name}; expected {_accepted(there)}")
        elif Path(word).is_file():
            name = _model_name(word, words)
            policy = _checked_model(word, name, hospital)
        else:
            raise UsageError(f"got {word!r}, expected {_accepted(there)}")
        if name in policies:
            raise UsageError(f"got {word!r} twice, expected different policies")
        policies[name] = policy
    return policies


def _accepted(rules: Sequence[str]) -> str:
    aliases = [f"{alias} ({name})" for alias, name in ALIASES.items()]
    return f"the file of a model (.zip) that exists, or a rule: {', '.join((*rules, *aliases))}"


def _model_name(word: str, words: Sequence[str]) -> str:
    """A model's name: that of the file, with its folder where several files are called the same."""
    stem = Path(word).stem
    same = [other for other in words if Path(other).stem == stem]
    return stem if len(same) == 1 and stem not in HEURISTICS else str(Path(word).with_suffix(""))


def _checked_model(word: str, name: str, hospital: Hospital) -> Path:
    """The file of a model, which has been loaded once to check it."""
    try:
        with open_venue(hospital.make_env, 1) as venue:
            make_players(Path(word), name, venue, deterministic=False)
    except ValueError as error:
        raise UsageError(" ".join(str(error).split())) from None
    return Path(word).resolve()


class Evaluator:
    """Evaluates policies in worker processes, in rounds until intervals are as narrow as asked.

    :param hospital: where they play
    :param policies: rules and models by name
    :param args: the options of :func:`add_evaluation_options`
    """

    def __init__(self, hospital: Hospital, policies: Mapping[str, str | Path], args: argparse.Namespace) -> None:
        self.hospital, self.policies, self.args = hospital, policies, args
        self.episode_seed = derived_seed(args.seed, "report")
        self.precision: Precision | None = None

    def run(
        self, workers: Workers, elsewhere: Mapping[str, tuple[str, Hospital]]
    ) -> tuple[EvaluationSet, dict[str, Evaluation]]:
        """Play all episodes.

        :param workers: who does it
        :param elsewhere: further evaluations by name: a policy's name, and the hospital in which it plays the same episodes
        :return: the policies here, and the further evaluations
        :raises RuntimeError: if a job failed; the message is its traceback
        :raises Interrupted: after Ctrl-C
        """
        parts: dict[str, list[Evaluation]] = {name: [] for name in self.policies}
        played, wanted = 0, self.args.episodes
        while played < wanted:
            jobs = {name: self._job(name, self.hospital, played, wanted) for name in self.policies}
            for name, evaluation in _done(workers, jobs).items():
                parts[name].append(evaluation)
            played = wanted
            evaluations = [joined(parts[name]) for name in self.policies]
            if self.args.half_width is not None:
                looks = 1 if self.precision is None else self.precision.looks + 1
                limit = self.args.most_episodes or _MOST_FACTOR * self.args.episodes
                self.precision = widest_interval(evaluations, self.args.half_width, self.args.seed, looks, limit)
                wanted = next_number(played, self.precision)
        jobs = {name: self._job(policy, hospital, 0, played) for name, (policy, hospital) in elsewhere.items()}
        return self._set(evaluations), _done(workers, jobs)

    def _job(self, name: str, hospital: Hospital, first: int, last: int) -> PlayJob:
        return PlayJob(hospital, name, self.policies[name], first, last, self.episode_seed, self.args.deterministic)

    def _set(self, evaluations: Sequence[Evaluation]) -> EvaluationSet:
        return EvaluationSet(
            evaluations=tuple(evaluations),
            reference=next(iter(self.policies)) if len(self.policies) > 1 else None,
            measure=BENEFIT_RATE,
            env=self.hospital.env_id,
            seed=self.args.seed,
            episode_seed=self.episode_seed,
            deterministic=self.args.deterministic,
            scenario=self.hospital.scenario,
            precision=self.precision,
        )


def _done(workers: Workers, jobs: Mapping[str, PlayJob]) -> dict[str, Evaluation]:
    for name, job in jobs.items():
        workers.submit(name, job, f"{job.hospital.name}: {name}")
    results = {}
    for outcome in workers.outcomes():
        if outcome.error is not None:
            raise RuntimeError(outcome.error)
        results[outcome.key] = outcome.result
    return results


def changed(hospital: Hospital, scenario: Scenario, name: str) -> Hospital:
    """A hospital with other numbers.

    :param hospital: the hospital
    :param scenario: its other numbers
    :param name: what to call it
    """
    return replace(hospital, name=name, env_id="Hospital-v0", scenario=scenario, file=name)


def make_console() -> Console:
    """Where results are printed."""
    return Console(width=None if sys.stdout.isatty() else 120)


def training_curves(policies: Mapping[str, str | Path]) -> dict[str, Path]:
    """``evaluations.npz`` beside models, as FairnessEvalCallback writes it, by the models' names."""
    files = {name: policy.parent / "evaluations.npz" for name, policy in policies.items() if isinstance(policy, Path)}
    return {name: file for name, file in files.items() if file.is_file()}


def write_report(report: "FairnessReport", evaluations: EvaluationSet, args: argparse.Namespace, console: Console) -> None:
    """Print a report and write its files.

    :param report: the report
    :param evaluations: what it was made from
    :param args: the options of :func:`add_evaluation_options`
    :param console: where to print
    """
    folder = Path(args.out)
    page = folder / "report.html" if args.html is None else Path(args.html)
    console.print(report)
    if evaluations.precision is not None:
        console.print(evaluations.precision.statement(evaluations.n_episodes), highlight=False)
    write_text(page, report.to_html())
    write_text(folder / "report.json", report.to_json())
    report.to_png(folder / "report.png")
    sets = {each.name: each.episodes for each in evaluations.evaluations if each.episodes is not None}
    write_records(folder / "records.csv", sets)
    report.event_log(folder / "events.csv")
    others = ", ".join(("report.json", "report.png", "records.csv", "events.csv"))
    console.print(f"{page}; {folder}: {others}", markup=False, highlight=False, soft_wrap=True)


def facts(evaluations: EvaluationSet, hospital: Hospital) -> dict[str, str]:
    """What a report says about where it came from."""
    said = {
        "Command": " ".join(command_line()),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    if evaluations.precision is not None:
        said["Precision"] = evaluations.precision.statement(evaluations.n_episodes)
    if hospital.replay_note is not None:
        said["Arrivals"] = hospital.replay_note
    return said
