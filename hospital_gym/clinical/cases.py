"""The cases an environment presents: observations, what is right, and in which order they come."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import CaseTable, Ints, checked_rows
from hospital_gym.clinical.preprocessing import Floats, Preprocessing
from hospital_gym.clinical.tables import load_table

Subset = Literal["train", "test", "all"]
Sampling = Literal["uniform", "label", "group", "group-label"]

SAMPLINGS: Final = ("uniform", "label", "group", "group-label")
"""Every case as often; or every label, group, or label within a group, as often as every other."""

WRONG_REWARD: Final = 0.01
"""Reward of a wrong answer. Above 0, as a published weighting divides by mean rewards."""


@dataclass(frozen=True, eq=False)
class Cases:
    """
    M cases of a table, ready to be decided.

    :param table: where they come from
    :param rows: (M,) their rows there
    :param preprocessing: what made the observations; fitted to training cases
    :param observations: (M, D), see :class:`~hospital_gym.clinical.preprocessing.Preprocessing`
    :param label: (M,) right answers
    :param group: (M,) groups
    :param source: (M,) sources
    """

    table: CaseTable
    rows: Ints
    preprocessing: Preprocessing
    observations: Floats = field(repr=False)
    label: Ints = field(repr=False)
    group: Ints = field(repr=False)
    source: Ints = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)


def prepare_cases(table: CaseTable, rows: npt.ArrayLike | None = None, preprocessing: Preprocessing | None = None) -> Cases:
    """
    Make observations of cases.

    :param table: cases
    :param rows: which of them; None for all
    :param preprocessing: fitted to the training cases; None to fit it to these
    :raises ValueError: if a row number is out of range
    """
    chosen = np.arange(len(table), dtype=np.int64) if rows is None else checked_rows("cases", rows, len(table))
    features = table.features.iloc[chosen]
    preprocessing = Preprocessing(features) if preprocessing is None else preprocessing
    return Cases(
        table=table,
        rows=chosen,
        preprocessing=preprocessing,
        observations=preprocessing.observations(features),
        label=table.label[chosen],
        group=table.group_id[chosen],
        source=table.source_id[chosen],
    )


def split_rows(table: CaseTable, test_share: float = 0.2, seed: int = 0) -> tuple[Ints, Ints]:
    """
    Training and test cases: patients at random, the test cases of each label as many as their share says.

    :param table: cases
    :param test_share: share of the cases to test on, between 0 and 1
    :param seed: of the split
    :return: rows of the training cases, rows of the test cases, ascending
    :raises ValueError: if the share is not between 0 and 1, or leaves one part without cases
    """
    if not isinstance(test_share, (float, int)) or not 0.0 < test_share < 1.0:
        raise ValueError(f"test_share: got {test_share!r}, expected a number between 0 and 1")
    # A patient counts as having the label of the first case; every further case goes where the first one goes
    patients, first, index = np.unique(table.patient_id, return_index=True, return_inverse=True)
    test = np.zeros(len(patients), dtype=np.bool_)
    generator = np.random.default_rng(seed)
    for label in range(table.n_classes):
        members = np.flatnonzero(table.label[first] == label)
        test[generator.permutation(members)[: round(test_share * len(members))]] = True
    in_test = test[index.reshape(-1)]
    if in_test.all() or not in_test.any():
        raise ValueError(f"test_share: {test_share!r} of {len(patients)} patients leaves one part empty")
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def choose_cases(
    table: CaseTable | str,
    subset: Subset = "train",
    cases: npt.ArrayLike | None = None,
    preprocessing: Preprocessing | None = None,
    group_by: Sequence[str] | None = None,
    test_share: float = 0.2,
    split_seed: int = 0,
    data: str | os.PathLike[str] | None = None,
) -> Cases:
    """
    What an environment presents; see :class:`~hospital_gym.clinical.diagnosis_env.DiagnosisEnv` for the arguments.

    :raises ValueError: naming the argument, its value and what is accepted
    """
    table = load_table(table, data) if isinstance(table, str) else table
    if not isinstance(table, CaseTable):
        raise ValueError(f"table: got {type(table).__name__}, expected a CaseTable or the name of one (CaseTable.from_frame)")
    if group_by is not None:
        table = table.grouped_by(*([group_by] if isinstance(group_by, str) else group_by))
    if cases is not None:
        return prepare_cases(table, cases, preprocessing)
    if subset not in ("train", "test", "all"):
        raise ValueError(f"subset: got {subset!r}, expected 'train', 'test' or 'all'")
    if subset == "all":
        return prepare_cases(table, None, preprocessing)
    train, test = split_rows(table, test_share, split_seed)
    if preprocessing is None:
        preprocessing = Preprocessing(table.features.iloc[train])
    return prepare_cases(table, train if subset == "train" else test, preprocessing)


def reward_table(n_classes: int, wrong_reward: float = WRONG_REWARD, rewards: npt.ArrayLike | None = None) -> Floats:
    """
    Reward of every answer to every case.

    :param n_classes: number of answers, K
    :param wrong_reward: of a wrong answer; a right one has 1
    :param rewards: in its place, (K, K): reward of answer k where j is right, in row j and column k
    :return: (K, K) float32, all in (0, 1]
    :raises ValueError: if a reward is not in (0, 1], or the table has another shape
    """
    if rewards is None:
        if isinstance(wrong_reward, bool) or not isinstance(wrong_reward, (float, int)) or not 0.0 < wrong_reward < 1.0:
            raise ValueError(f"wrong_reward: got {wrong_reward!r}, expected a number in (0, 1)")
        return np.where(np.eye(n_classes, dtype=np.bool_), 1.0, wrong_reward).astype(np.float32)
    values = np.array(rewards, dtype=np.float32)
    if values.shape != (n_classes, n_classes) or not ((values > 0) & (values <= 1)).all():
        raise ValueError(f"rewards: got {rewards!r}, expected {n_classes} x {n_classes} numbers in (0, 1]")
    return values


def case_weights(cases: Cases, sampling: Sampling | npt.ArrayLike = "uniform") -> npt.NDArray[np.float64] | None:
    """
    How often each case is presented.

    :param cases: M cases
    :param sampling: one of :data:`SAMPLINGS`, or M weights >= 0
    :return: (M,) that sum to 1; None if all are the same
    :raises ValueError: if it is neither
    """
    if isinstance(sampling, str):
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling: got {sampling!r}, expected one of {SAMPLINGS}, or a weight for each case")
        if sampling == "uniform":
            return None
        cells = np.zeros(len(cases), dtype=np.int64)
        if "group" in sampling:
            cells = cases.group * cases.table.n_classes
        if "label" in sampling:
            cells = cells + cases.label
        counts = np.bincount(cells)
        weights = 1.0 / counts[cells]
    else:
        weights = np.asarray(sampling, dtype=np.float64)
        if weights.shape != (len(cases),) or not (np.isfinite(weights) & (weights >= 0)).all() or weights.sum() <= 0:
            raise ValueError(f"sampling: got an array of shape {weights.shape}, expected {len(cases)} numbers >= 0, one > 0")
    return weights / weights.sum()


class CaseStream:
    """
    The order in which cases come: pass after pass over all of them.

    Pass p of seed s is drawn from child p of the seed's sequence and nothing else, so that the k-th case of a seed is the same
    whatever was answered before, and in however many environments. Without weights a pass presents every case once, in random
    order; with weights it draws as many, with replacement.

    :param n: number of cases, M
    :param seed: of the sequence
    :param weights: (M,) that sum to 1, or None
    """

    def __init__(self, n: int, seed: int, weights: npt.NDArray[np.float64] | None = None) -> None:
        self._n, self._seed = n, seed
        self._cumulative = None if weights is None else np.cumsum(weights)
        self._pass, self._place = 0, 0
        self._order = self._drawn(0)

    def _drawn(self, number: int) -> Ints:
        generator = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(number,)))
        if self._cumulative is None:
            return generator.permutation(self._n)
        # One uniform in each M-th part: frequencies are as close to the weights as they can be. Then shuffled
        uniforms = (np.arange(self._n) + generator.random(self._n)) / self._n
        drawn = np.searchsorted(self._cumulative, uniforms * self._cumulative[-1], side="right")
        return generator.permutation(np.minimum(drawn, self._n - 1))

    def take(self, count: int) -> Ints:
        """
        The next cases.

        :param count: how many
        :return: (count,) numbers from 0 to M - 1
        """
        parts = []
        while count > 0:
            if self._place == self._n:
                self._pass, self._place = self._pass + 1, 0
                self._order = self._drawn(self._pass)
            stop = min(self._place + count, self._n)
            parts.append(self._order[self._place : stop])
            count -= stop - self._place
            self._place = stop
        return parts[0].copy() if len(parts) == 1 else np.concatenate(parts)


def step_columns(cases: Cases, positions: Ints, answers: Ints, rewards: Floats) -> tuple[Floats, dict[str, Any]]:
    """
    What a step brings for n cases and their answers.

    :param cases: the cases
    :param positions: (n,) which of them
    :param answers: (n,) the answers
    :param rewards: (K, K) see :func:`reward_table`
    :return: rewards (n,), and the columns of ``info``, each with n rows
    """
    label, group = cases.label[positions], cases.group[positions]
    earned = rewards[label, answers]
    exposure = np.zeros((len(positions), len(cases.table.group_names)), dtype=np.float32)
    exposure[np.arange(len(positions)), group] = 1.0
    return earned, {
        **case_columns(cases, positions),
        "group_rewards": exposure * earned[:, None],
        "group_exposure": exposure,
        "label": label,
        "correct": answers == label,
    }


def case_columns(cases: Cases, positions: Ints) -> dict[str, Any]:
    """
    What is said about n cases before they are decided.

    :param cases: the cases
    :param positions: (n,) which of them
    """
    return {"case_id": cases.rows[positions], "group_id": cases.group[positions], "source_id": cases.source[positions]}


def checked_seed(seed: Any) -> int:
    """
    :raises ValueError: if it is no whole number >= 0
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, expected a whole number >= 0")
    return int(seed)
