"""What ``warn`` writes: tables, numbers and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from rich import box
from rich.table import Table

from hospital_gym.clinical.early_warning import EscalationRewards, prepare_watch
from hospital_gym.clinical.icu_stays import IcuStays
from sb3_grpo.cli.evaluation import make_console
from sb3_grpo.cli.output import command_line
from sb3_grpo.cli.warn_job import FloorJob, PolicyJob
from sb3_grpo.common.files import versions, write_json, write_text
from sb3_grpo.diagnosis.results import rounded
from sb3_grpo.diagnosis.tables import estimate_text
from sb3_grpo.early_warning.methods import COMMITTEE, FLOORS, POLICIES, Training
from sb3_grpo.early_warning.results import Patients, Results, Scored, judge
from sb3_grpo.early_warning.tables import markdown
from sb3_grpo.early_warning.training import Trained
from sb3_grpo.fairness.classification import Attribute

_WAYS: Final = (("sex",), ("age_band",), ("unit",), ("sex", "age_band"))
_PAIRS: Final = (("fusion", "flat"), ("flat", "summary"), ("fusion", "summary"), ("summary", "summary-individual"))
_SETTLED: Final = 0.5  # the distance of advantages is that of the last half of the updates
_FLOORS_OF_ALL: Final = (
    "On the whole set, five-fold, scikit-learn without tuning and the summaries of all 48 hours: logistic regression 0.839, "
    "gradient boosting 0.853."
)


def write_report(
    jobs: Sequence[PolicyJob | FloorJob],
    stays: IcuStays,
    names: Sequence[str],
    floors: Sequence[str],
    training: Training,
    folder: Path,
    n_resamples: int,
) -> None:
    """
    Judge, print, and write ``early-warning.json``, ``.md`` and ``.png``.

    :param jobs: the trainings, all finished
    :param stays: all stays
    :param names: of the policies, the first is the one whose groups are drawn
    :param floors: classifiers that they are compared with
    :param training: how policies were trained
    :param folder: where to write
    :param n_resamples: of patients, for intervals
    """
    from sb3_grpo.early_warning.picture import draw_results

    console = make_console()
    found: dict[str, list[Trained]] = {}
    for job in jobs:
        trained = job.found(stays)
        assert trained is not None
        found.setdefault(job.name, []).append(trained)
    scored = {name: _scored(found[name], name in names) for name in (*names, *floors)}
    labels = {name: POLICIES[name].label for name in names} | FLOORS
    if len(found[names[0]]) > 1:  # all trainings of the first policy as one
        scored = {f"{names[0]}{COMMITTEE}": scored[names[0]].committee(), **scored}
        labels[f"{names[0]}{COMMITTEE}"] = f"{labels[names[0]]}, {len(found[names[0]])} as a committee"
    pairs = [(name, floor) for name in scored if name not in floors for floor in floors]
    pairs += [(name, other) for name, other in _PAIRS if {name, other} <= set(names)]
    with console.status("Intervals"):
        results = judge(scored, _patients(stays), pairs, n_resamples=n_resamples)
    console.print(terminal_table(results, labels))
    distances = {name: _distance(found[name]) for name in names if found[name][0].distance}
    sentences = _sentences(stays, found, names, training, n_resamples, distances, labels)
    title = "Early warning: " + ("made-up stays" if "Made up" in " ".join(stays.notes) else "PhysioNet 2012 set A")
    text = "\n\n".join([f"# {title}", *sentences, markdown(results, labels)])
    write_text(folder / "early-warning.md", text)
    content = {
        "command": command_line(),
        "versions": versions(),
        "training": asdict(training),
        "policies": {name: asdict(POLICIES[name]) for name in names},
        "rewards": asdict(EscalationRewards()),
        "validation_returns": {name: [each.returns for each in found[name]] for name in names},
        "advantage_distance": {name: [list(each.distance) for each in found[name]] for name in distances},
        "results": results.to_dict(),
    }
    write_json(folder / "early-warning.json", rounded(content))
    subject = next(iter(scored))
    draw_results(folder / "early-warning.png", results, labels, subject, title)
    console.print(f"{folder}: early-warning.md, early-warning.json, early-warning.png", highlight=False, soft_wrap=True)


def _scored(trainings: Sequence[Trained], drawn: bool) -> Scored:
    validation, test = (np.stack([getattr(each, part) for each in trainings]) for part in ("validation", "test"))
    return Scored(validation, test, drawn)


def _patients(stays: IcuStays) -> Patients:
    parts = stays.split()
    attributes = {}
    for way in _WAYS:
        if set(way) <= set(stays.attributes):
            ids, names = stays.groups(*way)
            attributes[" & ".join(way)] = Attribute(ids[parts["test"]], names)
    died = {part: prepare_watch(stays, part, window=1, observe="summary").died for part in ("validation", "test")}
    return Patients(died["validation"], died["test"], attributes)


def _distance(trainings: Sequence[Trained]) -> list[float]:
    """Of each training: mean of abs(A_i - A_g) over the last half of the updates, in deviations of A_i."""
    return [float(np.mean(each.distance[int(_SETTLED * len(each.distance)) :])) for each in trainings]


def _sentences(
    stays: IcuStays,
    found: Mapping[str, Sequence[Trained]],
    names: Sequence[str],
    training: Training,
    n_resamples: int,
    distances: Mapping[str, Sequence[float]],
    labels: Mapping[str, str],
) -> list[str]:
    """How the numbers were found."""
    parts = {name: len(rows) for name, rows in stays.split().items()}
    died = {name: int(stays.died[rows].sum()) for name, rows in stays.split().items()}
    n_seeds = len(found[names[0]])
    steps = training.updates * training.n_envs * training.n_steps
    sentences = [
        f"{parts['train']} patients to learn from ({died['train']} die in hospital), {parts['validation']} to choose by "
        f"({died['validation']}), {parts['test']} to judge ({died['test']}). Nothing was chosen by the test patients.",
        f"Policies: {n_seeds} trainings each of {steps:,} hours, {training.updates} updates, of which the policy is kept "
        "whose mean return on the validation patients is largest. The score of an hour is the probability that the policy "
        "escalates in it. Floors: fitted anew every six hours, by summaries of what was seen until then; their settings, too, "
        "are those with the largest area among the validation patients. Alarms: in the first hour by which the policy has "
        "escalated with a certain probability, the one that would have brought the largest return on the validation patients; "
        "those of floors in the first hour with a certain score, found alike. Floors can raise theirs every six hours only.",
        f"Brackets: 95 % intervals, BCa, {n_resamples} resamples of patients, whose contributions are averaged over trainings "
        "first. Rates of groups: limits that hold for all groups together.",
        _FLOORS_OF_ALL,
    ]
    for name, values in distances.items():
        each = ", ".join(f"{value:.2f}" for value in values)
        sentences.append(
            f"Mean of abs(A_i - A_g), in deviations of A_i, over the last half of the updates of the {labels[name]}: {each}."
        )
    return [*sentences, f"Written by `{' '.join(command_line())}`."]


def terminal_table(results: Results, labels: Mapping[str, str]) -> Table:
    """What a terminal has room for: ranking after the first and the last hours, and alarms."""
    first, *_, last = next(iter(results.rankings.values()))
    table = Table(title="Test patients", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("method")
    for heading in (f"AUROC {first} h", f"AUROC {last} h", "reward", "deaths announced", "false alarms"):
        table.add_column(heading, justify="right")
    for name, of in results.rankings.items():
        alarms = results.alarms[name]
        cells = [of[first]["auroc"], of[last]["auroc"], alarms["reward"], alarms["true"], alarms["false"]]
        table.add_row(labels[name], *(estimate_text(cell).replace("0.", ".") for cell in cells))
    return table
