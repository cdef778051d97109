"""Which cases are held out together. Patients are never split between training and test."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import CaseTable

Ints = npt.NDArray[np.int64]

POOLED: Final = "pooled"
SOURCES: Final = "by-source"
SCHEMES: Final = {
    POOLED: "patients of all sources held out at random",
    SOURCES: "each source held out by itself",
}
"""Ways to hold out cases."""


class Fold(NamedTuple):
    """
    :param name: of the fold, the source's where sources are held out
    :param train: rows to train on
    :param test: rows to answer
    """

    name: str
    train: Ints
    test: Ints


def make_folds(table: CaseTable, scheme: str, n_folds: int = 5, seed: int = 0) -> list[Fold]:
    """
    Folds that together hold out every case once.

    :param table: cases
    :param scheme: one of :data:`SCHEMES`
    :param n_folds: number of folds where sources are pooled
    :param seed: of the random folds
    :raises ValueError: if a label has fewer patients than folds, or there is one source only
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: got {scheme!r}, expected one of {tuple(SCHEMES)}")
    return _source_folds(table) if scheme == SOURCES else _pooled_folds(table, np.arange(len(table)), n_folds, seed)


def inner_folds(table: CaseTable, rows: Ints, n_folds: int, seed: int) -> list[Fold]:
    """
    Folds inside the training cases of another fold, to choose hyperparameters.

    :param table: cases
    :param rows: the training cases
    :param n_folds: number of folds
    :param seed: of the random folds
    :raises ValueError: as :func:`make_folds`
    """
    return _pooled_folds(table, rows, n_folds, seed)


def _pooled_folds(table: CaseTable, rows: Ints, n_folds: int, seed: int) -> list[Fold]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    label, patient = table.label[rows], table.patient_id[rows]
    rarest = min(len(np.unique(patient[label == k])) for k in np.unique(label))
    if isinstance(n_folds, bool) or not isinstance(n_folds, int) or not 2 <= n_folds <= rarest:
        raise ValueError(f"folds: got {n_folds!r}, expected 2 to {rarest}, the number of patients with the rarest label")
    alone = len(np.unique(patient)) == len(patient)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(n_folds, shuffle=True, random_state=seed)
    return [
        Fold(f"{number + 1} of {n_folds}", rows[train], rows[test])
        for number, (train, test) in enumerate(splitter.split(rows, label, None if alone else patient))
    ]


def _source_folds(table: CaseTable) -> list[Fold]:
    if len(table.source_names) < 2:
        raise ValueError("source: the table has one source only, so none can be held out")
    folds = []
    for source, name in enumerate(table.source_names):
        test = table.source_id == source
        if not test.any():
            continue
        # Somebody who was a patient at two sources is in neither training set
        train = ~test & ~np.isin(table.patient_id, table.patient_id[test])
        folds.append(Fold(name, np.flatnonzero(train), np.flatnonzero(test)))
    return folds
