"""Logistic regression and gradient boosting on the patients that policies are trained on, fitted anew at every hour."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.early_warning import Watch
from hospital_gym.clinical.icu_observation import SUMMARIES
from hospital_gym.clinical.icu_stays import SPLITS, Part

FloatArray = npt.NDArray[np.float64]

STRENGTHS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Inverse strengths of the ridge penalty that are tried on the validation patients."""

BOOSTINGS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"learning_rate": 0.05, "max_leaf_nodes": 8, "max_iter": 150, "l2_regularization": 1.0},
    {"learning_rate": 0.03, "max_leaf_nodes": 8, "max_iter": 300, "l2_regularization": 5.0, "max_features": 0.3},
)
"""Settings of the boosting that are tried; the first are scikit-learn's own."""


def risks(
    kind: str, watches: Mapping[Part, Watch], hours: Sequence[int], report: Callable[[int], None] = lambda done: None
) -> tuple[FloatArray, FloatArray]:
    """
    Risk of death by what was seen until each hour. Of the settings above, those are taken at each hour with the largest area
    under the ROC curve among validation patients; so floors, too, are chosen there.

    :param kind: ``"logistic"`` or ``"boosting"``
    :param watches: patients to learn from, to choose settings by and to judge, observed by summaries
    :param hours: after how many hours
    :param report: called with the number of hours done
    :return: (validation patients, H) and (test patients, H), NaN in the other hours
    """
    from sklearn.metrics import roc_auc_score

    train, validation, test = (watches[part] for part in SPLITS)
    n_hours = int(train.hours.min())
    found = [np.full((len(watch), n_hours), np.nan) for watch in (validation, test)]
    for done, hour in enumerate(hours):
        holes = kind == "boosting"
        seen = [features(watch, hour, holes) for watch in (train, validation, test)]
        models = [model.fit(seen[0], train.died) for model in _models(kind)]
        areas = [roc_auc_score(validation.died, model.predict_proba(seen[1])[:, 1]) for model in models]
        chosen = models[int(np.argmax(areas))]
        for place, part in enumerate(found):
            part[:, hour - 1] = chosen.predict_proba(seen[place + 1])[:, 1]
        report(done + 1)
    return found[0], found[1]


def _models(kind: str) -> list[Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    if kind == "logistic":
        return [LogisticRegression(C=strength, max_iter=2000) for strength in STRENGTHS]
    return [HistGradientBoostingClassifier(random_state=0, **arguments) for arguments in BOOSTINGS]


def features(watch: Watch, hour: int, holes: bool) -> npt.NDArray[np.float32]:
    """
    :param watch: patients, observed by summaries
    :param hour: after how many hours
    :param holes: whether what was never measured is NaN; else it is 0, the mean
    :return: (patients, features) summaries and static values
    """
    seen = watch.observations.at(np.arange(len(watch)), np.full(len(watch), hour - 1))
    table = seen["summary"].reshape(len(watch), len(SUMMARIES), -1).copy()
    if holes:
        values = table[:, :-1]  # the counts come last
        values[np.broadcast_to(table[:, -1:] == 0, values.shape)] = np.nan
    return np.hstack([table.reshape(len(watch), -1), seen["static"]])
