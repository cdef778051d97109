"""Logistic regression and gradient boosting on the same observations, as scikit-learn makes them, without tuning."""

from typing import Any

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.preprocessing import Preprocessing


def classifier_probabilities(
    kind: str, table: CaseTable, train: npt.NDArray[np.int64], test: npt.NDArray[np.int64], seed: int, balanced: bool = False
) -> npt.NDArray[np.float64]:
    """
    Train a classifier and ask it about other cases.

    :param kind: ``"logistic"`` or ``"boosting"``
    :param table: cases
    :param train: rows to learn from
    :param test: rows to answer
    :param seed: of what is random
    :param balanced: whether every label weighs the same, as if each were presented as often
    :return: (len(test), K) probabilities
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    weights = "balanced" if balanced else None
    model: Any
    if kind == "logistic":
        model = LogisticRegression(max_iter=2000, class_weight=weights)
    else:
        model = HistGradientBoostingClassifier(random_state=seed, class_weight=weights)
    preprocessing = Preprocessing(table.features.iloc[train])
    model.fit(preprocessing.observations(table.features.iloc[train]), table.label[train])
    found = np.zeros((len(test), table.n_classes))  # a label that no training case has is not expected
    found[:, model.classes_] = model.predict_proba(preprocessing.observations(table.features.iloc[test]))
    return found
