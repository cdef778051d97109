"""One training per fold, method and seed. Each is kept as soon as it is finished, so that an interruption loses none."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import CaseTable
from sb3_grpo.diagnosis.floors import classifier_probabilities
from sb3_grpo.diagnosis.folds import Fold, inner_folds, make_folds
from sb3_grpo.diagnosis.methods import FLOORS, Method, Training
from sb3_grpo.fairness.classification import MIN_CELL, Attribute, Diagnoses

Probabilities = npt.NDArray[np.float64]

INNER_FOLDS: Final = 3
"""Folds of the training cases among which a learning rate is chosen."""


@dataclass(frozen=True)
class FoldTask:
    """
    One training.

    :param scheme: how cases are held out
    :param number: of the fold
    :param fold: its cases
    :param name: of the method
    :param method: the method
    :param training: how much a policy is trained
    :param rates: learning rates to choose from inside the training cases; empty: the one of ``training``
    :param seed: of the training
    """

    scheme: str
    number: int
    fold: Fold
    name: str
    method: Method
    training: Training
    rates: tuple[float, ...]
    seed: int

    @property
    def file_name(self) -> str:
        """Where its result is kept, relative to the folder of results."""
        return f"{self.scheme}/{self.name}-seed{self.seed}-fold{self.number}.npz"

    @property
    def is_policy(self) -> bool:
        """Whether it trains a policy."""
        return self.method.kind == "policy"

    @property
    def updates(self) -> int:
        """Updates of all its trainings; 1 for a classifier."""
        if not self.is_policy:
            return 1
        return self.training.updates * (1 + INNER_FOLDS * len(self.rates))

    def settings(self, table: CaseTable) -> dict[str, Any]:
        """Everything that its result depends on, as JSON can hold it."""
        facts = {"method": asdict(self.method), "training": asdict(self.training), "rates": self.rates, "seed": self.seed}
        cases = {"table": fingerprint(table), "train": _hash(self.fold.train), "test": _hash(self.fold.test)}
        return json.loads(json.dumps({**facts, **cases}, default=str))

    def run(
        self, table: CaseTable, report: Callable[[int], None] = lambda done: None, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[Probabilities, dict[str, Any]]:
        """
        Train, and answer the cases that were held out.

        :param table: all cases
        :param report: called with the number of updates done
        :param stopped: asked after every step; whoever stops a training must not use its result
        :return: (len(test), K) probabilities, and what was chosen
        """
        if not self.is_policy:
            balanced = (self.method.sampling or self.training.sampling) == "label"
            found = classifier_probabilities(self.method.kind, table, self.fold.train, self.fold.test, self.seed, balanced)
            report(1)
            return found, {}
        training, done = self.training, 0
        if self.rates:
            losses = {}
            for rate in self.rates:
                tried = _with_rate(self.training, rate)
                losses[rate] = 0.0
                for fold in inner_folds(table, self.fold.train, INNER_FOLDS, self.seed):
                    answers = self._policy_answers(table, tried, fold, done, report, stopped)
                    right = answers[np.arange(len(fold.test)), table.label[fold.test]]
                    losses[rate] -= float(np.log(np.maximum(right, 1e-3)).mean()) / INNER_FOLDS
                    done += tried.updates
            training = _with_rate(self.training, min(losses, key=lambda rate: losses[rate]))
        found = self._policy_answers(table, training, self.fold, done, report, stopped)
        return found, {"learning_rate": training.learning_rate}

    def _policy_answers(
        self,
        table: CaseTable,
        training: Training,
        fold: Fold,
        done: int,
        report: Callable[[int], None],
        stopped: Callable[[], bool],
    ) -> Probabilities:
        # Imported here: plain classifiers need no PyTorch
        from sb3_grpo.diagnosis.policies import StoppableTraining, action_probabilities, train_policy

        callback = StoppableTraining(lambda updates: report(done + updates), stopped)
        model, preprocessing = train_policy(self.method, training, table, fold.train, self.seed, callback)
        return action_probabilities(model, preprocessing.observations(table.features.iloc[fold.test]))


def _with_rate(training: Training, rate: float) -> Training:
    return Training(**{**asdict(training), "learning_rate": rate})


def plan(
    table: CaseTable,
    methods: Mapping[str, Method],
    training: Training,
    seeds: Mapping[str, Sequence[int]],
    n_folds: int = 5,
    rates: Sequence[float] = (),
) -> list[FoldTask]:
    """
    Every training that a cross-validation takes, those of plain classifiers first.

    Folds are the same for all methods and seeds. A classifier has one seed: it is trained on the same cases every time.

    :param table: cases
    :param methods: by name
    :param training: how much policies are trained
    :param seeds: of the trainings, for each way to hold out cases (:data:`~sb3_grpo.diagnosis.folds.SCHEMES`)
    :param n_folds: number of folds where sources are pooled
    :param rates: learning rates of policies to choose from inside each fold's training cases
    :raises ValueError: if the folds cannot be made
    """
    tasks = []
    for scheme, chosen_seeds in seeds.items():
        folds = make_folds(table, scheme, n_folds)
        for (name, method), seed, (number, fold) in product(methods.items(), chosen_seeds, enumerate(folds)):
            if method.kind != "policy" and seed != chosen_seeds[0]:
                continue
            chosen = tuple(rates) if method.kind == "policy" else ()
            tasks.append(FoldTask(scheme, number, fold, name, method, training, chosen, seed))
    return sorted(tasks, key=lambda task: (task.is_policy, task.name not in FLOORS))


def save_answers(folder: Path, task: FoldTask, table: CaseTable, answers: Probabilities, chosen: Mapping[str, Any]) -> None:
    """
    Keep a result, at once or not at all.

    :param folder: of results
    :param task: what was trained
    :param table: all cases
    :param answers: what it found
    :param chosen: what was chosen inside the training cases
    """
    path = folder / task.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(pack_answers(task, table, answers, chosen))
    os.replace(unfinished, path)


def pack_answers(task: FoldTask, table: CaseTable, answers: Probabilities, chosen: Mapping[str, Any]) -> bytes:
    """
    A result as a file; the same bytes for the same result.

    :param task: what was trained
    :param table: all cases
    :param answers: what it found
    :param chosen: what was chosen inside the training cases
    :return: an ``.npz`` file
    """
    settings = json.dumps({"settings": task.settings(table), "chosen": dict(chosen)})
    file = io.BytesIO()
    np.savez(file, probability=answers.astype(np.float32), rows=task.fold.test, settings=np.array(settings))
    return file.getvalue()


def saved_answers(folder: Path, task: FoldTask, table: CaseTable) -> Probabilities | None:
    """
    :param folder: of results
    :param task: what would be trained
    :param table: all cases
    :return: what exactly this training found earlier, None if there is nothing
    """
    return read_answers(folder / task.file_name, task, table)


def read_answers(path: Path, task: FoldTask, table: CaseTable) -> Probabilities | None:
    """
    :param path: a file of :func:`pack_answers`
    :param task: what would be trained
    :param table: all cases
    :return: what exactly this training found, None if the file is not there, not whole, or another training's
    """
    try:
        with np.load(path) as kept:
            if json.loads(str(kept["settings"]))["settings"] == task.settings(table):
                return np.asarray(kept["probability"], dtype=np.float64)
    except (OSError, ValueError, KeyError, BadZipFile):
        pass  # not there, or not whole
    return None


def collect(
    table: CaseTable,
    tasks: Sequence[FoldTask],
    answers: Mapping[str, Probabilities],
    attributes: Sequence[str],
    min_cell: int = MIN_CELL,
) -> dict[str, dict[str, Diagnoses]]:
    """
    Answers to all cases, from those of the folds.

    :param table: cases
    :param tasks: the trainings
    :param answers: by the tasks' file names; a method that lacks a fold in some seed lacks that seed
    :param attributes: of the table, by which groups are formed
    :param min_cell: see :class:`~sb3_grpo.fairness.classification.Diagnoses`
    :return: by scheme and method; methods without any whole seed are left out
    """
    ways = {}
    for name in attributes:
        grouped = table.grouped_by(name)
        ways[name] = Attribute(grouped.group_id, grouped.group_names)
    found: dict[str, dict[str, Diagnoses]] = {}
    for scheme, name in dict.fromkeys((task.scheme, task.name) for task in tasks):
        whole = []
        mine = [task for task in tasks if (task.scheme, task.name) == (scheme, name)]
        for seed in dict.fromkeys(task.seed for task in mine):
            of_seed = [task for task in mine if task.seed == seed]
            if all(task.file_name in answers for task in of_seed):
                probability = np.full((len(table), table.n_classes), np.nan)
                for task in of_seed:
                    probability[task.fold.test] = answers[task.file_name]
                whole.append(probability)
        if whole:
            found.setdefault(scheme, {})[name] = Diagnoses(
                table.label, np.stack(whole), ways, table.patient_id, min_cell=min_cell
            )
    return found


@lru_cache(maxsize=4)
def fingerprint(table: CaseTable) -> str:
    """A hash of everything in a table that a training sees. Computed once: a table does not change."""
    import pandas as pd

    hashed = pd.util.hash_pandas_object(table.features, index=False).to_numpy()
    return _hash(hashed, table.label, table.group_id, table.source_id, table.patient_id)


def _hash(*arrays: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
