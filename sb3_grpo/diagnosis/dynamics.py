"""Disparity over training: what a policy would have answered to held-out patients after every few updates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import CaseTable
from sb3_grpo.diagnosis.cross_validation import FoldTask, Probabilities, plan
from sb3_grpo.diagnosis.folds import POOLED
from sb3_grpo.diagnosis.methods import Method, Training
from sb3_grpo.fairness.classification import METRICS, Attribute, Change, Diagnoses, compare_diagnoses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN: Final = ("ppv_gap", "eod", "f1")
"""Metrics that are drawn."""

EARLY: Final = 0.1
"""Share of the training after which F1 has settled: disparity is compared between then and the end."""


@dataclass(frozen=True)
class CurveTask(FoldTask):
    """
    One training that is asked about the held-out cases again and again.

    :param every: updates between two times
    """

    every: int = 5

    @property
    def file_name(self) -> str:
        """See the parent."""
        return f"curves/{self.name}-seed{self.seed}-fold{self.number}.npz"

    def settings(self, table: CaseTable) -> dict[str, Any]:
        """See the parent."""
        return {**super().settings(table), "every": self.every}

    def run(
        self, table: CaseTable, report: Callable[[int], None] = lambda done: None, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[Probabilities, dict[str, Any]]:
        """
        See the parent.

        :return: (T, len(test), K) probabilities after ``every``, 2 ``every``, ... updates, and nothing
        """
        from sb3_grpo.diagnosis.policies import StoppableTraining, action_probabilities, train_policy

        found: list[Probabilities] = []
        features = table.features.iloc[self.fold.test]
        every = self.every

        class Asked(StoppableTraining):
            """Asks before each update; so what it hears is what the updates before it have taught."""

            def _on_rollout_end(self) -> None:
                if self._updates and self._updates % every == 0:
                    found.append(action_probabilities(self.model, preprocessing.observations(features)))  # type: ignore
                super()._on_rollout_end()

        preprocessing = _preprocessing(table, self.fold.train)
        model, _ = train_policy(self.method, self.training, table, self.fold.train, self.seed, Asked(report, stopped))
        if self.training.updates % every == 0:
            found.append(action_probabilities(model, preprocessing.observations(features)))
        return np.stack(found), {}


def _preprocessing(table: CaseTable, rows: npt.NDArray[np.int64]) -> Any:
    from hospital_gym.clinical.preprocessing import Preprocessing

    return Preprocessing(table.features.iloc[rows])


def curve_plan(
    table: CaseTable, methods: Mapping[str, Method], training: Training, seeds: Sequence[int], n_folds: int, every: int
) -> list[CurveTask]:
    """
    The trainings that curves take; see :func:`~sb3_grpo.diagnosis.cross_validation.plan`.

    :param every: updates between two times
    """
    policies = {name: method for name, method in methods.items() if method.kind == "policy"}
    return [CurveTask(**{**vars(task), "every": every}) for task in plan(table, policies, training, {POOLED: seeds}, n_folds)]


@dataclass(frozen=True)
class Curve:
    """
    One method over its training.

    :param updates: (T,) numbers of updates
    :param values: by metric, (S, T): each seed by itself
    :param change: by metric: at the end less early, all seeds together, on the same patients
    """

    updates: npt.NDArray[np.int64]
    values: Mapping[str, npt.NDArray[np.float64]]
    change: Mapping[str, Change]


def make_curve(
    table: CaseTable, tasks: Sequence[CurveTask], answers: Mapping[str, Probabilities], attributes: Mapping[str, Attribute]
) -> Curve:
    """
    :param table: cases
    :param tasks: all trainings of one method
    :param answers: by the tasks' file names
    :param attributes: ways of forming groups
    """
    seeds = list(dict.fromkeys(task.seed for task in tasks))
    times = answers[tasks[0].file_name].shape[0]
    probability = np.full((times, len(seeds), len(table), table.n_classes), np.nan)
    for task in tasks:
        probability[:, seeds.index(task.seed), task.fold.test] = answers[task.file_name]
    everybody = Diagnoses(table.label, probability[0], attributes, table.patient_id)
    ones = np.ones((1, everybody.units[0]))
    values = np.array(
        [
            [replace(everybody, probability=of_seed[None]).statistic(SHOWN)(ones)[:, 0] for of_seed in probability[time]]
            for time in range(times)
        ]
    )  # (T, S, metrics)
    late, before = (replace(everybody, probability=probability[time]) for time in (-1, early_point(times)))
    return Curve(
        updates=tasks[0].every * np.arange(1, times + 1),
        values={name: values[:, :, k].T for k, name in enumerate(SHOWN)},
        change=compare_diagnoses(late, before, np.random.default_rng(0), SHOWN),
    )


def early_point(times: int) -> int:
    """
    :param times: number of times T
    :return: which of them is :data:`EARLY`
    """
    return max(0, round(EARLY * times) - 1)


def draw(curves: Mapping[str, Curve], title: str) -> "Figure":
    """
    A picture: thin lines for seeds, thick ones for their mean.

    :param curves: by the methods' labels
    :param title: what stands above
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from sb3_grpo.fairness.report.figures import COLOURS

    figure = Figure(figsize=(10.0, 3.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
        for place, (label, curve) in enumerate(curves.items()):
            style = {"color": COLOURS[place], "linestyle": ("-", "--")[place % 2]}
            axes.plot(curve.updates, curve.values[name].T, linewidth=0.7, alpha=0.35, **style)
            axes.plot(curve.updates, curve.values[name].mean(axis=0), linewidth=2.2, label=label, **style)
        axes.set_title(METRICS[name], fontsize=10)
        axes.set_xlabel("updates")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write the picture as PNG."""
    figure.savefig(path)
