"""Discrimination, alarms and groups on test patients, with intervals, and compared on the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.early_warning import EscalationRewards
from sb3_grpo.diagnosis.results import rounded
from sb3_grpo.early_warning.alarms import FloatArray, alarm_hours, alarm_returns, best_threshold, escalated_by
from sb3_grpo.fairness.classification import Attribute, Diagnoses, GroupRates, area_under_curve, diagnosis_metrics
from sb3_grpo.fairness.classification.ranking import average_precision
from sb3_grpo.fairness.inference import bootstrap_estimates
from sb3_grpo.fairness.inference.results import Estimate
from sb3_grpo.fairness.metrics import ratio

HOURS: Final = (6, 12, 18, 24, 30, 36, 42, 48)
"""After how many hours patients are ranked, and floors fitted anew."""

RANKINGS: Final = {"auroc": "area under the ROC curve", "auprc": "average precision"}
"""What is measured of a ranking."""

ALARMS: Final = {
    "reward": "reward a patient",
    "true": "deaths announced",
    "false": "false alarms",
    "ppv": "alarms that were right",
    "warning": "hours of warning of an announced death",
    "warning_all": "of any death",
}
"""What is measured of alarms: shares of deaths, survivors and alarms; hours from the alarm to the end of the 48. A death that
was missed has none."""

_Estimates = dict[str, Estimate]


@dataclass(frozen=True)
class Scored:
    """
    What a method says of validation and test patients, in each of S trainings. Patients are ranked by the score of an hour.

    :param validation: (S, N', H) scores, NaN in hours without one
    :param test: (S, N, H)
    :param drawn: whether a score is the probability of escalating in that hour, if it was not done before. Then alarms go by
        the probability of having escalated by that hour; else by the score itself
    """

    validation: FloatArray
    test: FloatArray
    drawn: bool = False

    def committee(self) -> "Scored":
        """The mean of all trainings, as one."""
        return Scored(self.validation.mean(axis=0)[None], self.test.mean(axis=0)[None], self.drawn)

    def for_alarms(self) -> tuple[FloatArray, FloatArray]:
        """What alarms go by, of validation and of test patients."""
        if not self.drawn:
            return self.validation, self.test
        return escalated_by(self.validation), escalated_by(self.test)


@dataclass(frozen=True)
class Patients:
    """
    Whom methods are judged on.

    :param died_validation: (N',) whether each validation patient dies
    :param died: (N,) whether each test patient dies
    :param attributes: ways of forming groups of the test patients, by name
    """

    died_validation: npt.NDArray[np.bool_]
    died: npt.NDArray[np.bool_]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Results:
    """
    :param rankings: by method, hour and measure (:data:`RANKINGS`)
    :param changes: by method, reference, hour and measure: the method less the reference
    :param alarms: by method and measure (:data:`ALARMS`)
    :param alarm_changes: by method and reference: change of the reward a patient
    :param groups: by method and attribute: true and false alarm rates
    :param thresholds: by method: from which on an alarm is raised, one for each training
    """

    rankings: Mapping[str, Mapping[int, _Estimates]]
    changes: Mapping[str, Mapping[str, Mapping[int, _Estimates]]]
    alarms: Mapping[str, _Estimates]
    alarm_changes: Mapping[str, _Estimates]
    groups: Mapping[str, Mapping[str, GroupRates]]
    thresholds: Mapping[str, tuple[float, ...]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: what does not exist is None, numbers have five decimals."""
        return rounded(asdict(self))


def judge(
    scored: Mapping[str, Scored],
    patients: Patients,
    pairs: Sequence[tuple[str, str]],
    hours: Sequence[int] = HOURS,
    rewards: EscalationRewards | None = None,
    seed: int = 0,
    n_resamples: int = 1999,
) -> Results:
    """
    :param scored: by method
    :param patients: whom they speak of
    :param pairs: which method is compared with which
    :param hours: after how many hours patients are ranked
    :param rewards: what alarms are worth; None for the environment's defaults
    :param seed: of the resamples
    :param n_resamples: number of resamples of patients
    """
    rewards = rewards or EscalationRewards()
    rankings, changes = _rankings(scored, patients, pairs, hours, np.random.default_rng(seed), n_resamples)
    thresholds, raised = {}, {}
    for name, each in scored.items():
        known, judged = each.for_alarms()
        thresholds[name] = tuple(best_threshold(score, patients.died_validation, rewards) for score in known)
        raised[name] = np.stack([alarm_hours(score, least) for score, least in zip(judged, thresholds[name], strict=True)])
    n_hours = next(iter(scored.values())).test.shape[2]
    alarms, alarm_changes = _alarms(raised, patients.died, n_hours, pairs, rewards, seed, n_resamples)
    groups = {name: _groups(hour < n_hours, patients, seed, n_resamples) for name, hour in raised.items()}
    return Results(rankings, changes, alarms, alarm_changes, groups, thresholds)


def _rankings(
    scored: Mapping[str, Scored],
    patients: Patients,
    pairs: Sequence[tuple[str, str]],
    hours: Sequence[int],
    rng: np.random.Generator,
    n_resamples: int,
) -> tuple[dict[str, dict[int, _Estimates]], dict[str, dict[str, dict[int, _Estimates]]]]:
    names = list(scored)
    rankings: dict[str, dict[int, _Estimates]] = {name: {} for name in names}
    changes: dict[str, dict[str, dict[int, _Estimates]]] = {
        name: {other: {} for n, other in pairs if n == name} for name, _ in pairs
    }
    for hour in hours:

        def statistic(weights: FloatArray, hour: int = hour) -> FloatArray:
            """All measures of all methods, then all changes, (K, R)."""
            rows = []
            for measure in (area_under_curve, average_precision):
                of = {
                    name: np.mean([measure(patients.died, score[:, hour - 1], weights) for score in scored[name].test], axis=0)
                    for name in names
                }
                rows += [*of.values(), *(of[name] - of[other] for name, other in pairs)]
            return np.stack(rows)

        found = iter(bootstrap_estimates(statistic, len(patients.died), rng, n_resamples))
        for measure in RANKINGS:
            for name in names:
                rankings[name].setdefault(hour, {})[measure] = next(found)
            for name, other in pairs:
                changes[name][other].setdefault(hour, {})[measure] = next(found)
    return rankings, changes


def _alarms(
    raised: Mapping[str, npt.NDArray[np.int64]],
    died: npt.NDArray[np.bool_],
    n_hours: int,
    pairs: Sequence[tuple[str, str]],
    rewards: EscalationRewards,
    seed: int,
    n_resamples: int,
) -> tuple[dict[str, _Estimates], dict[str, _Estimates]]:
    """Each patient's contribution is averaged over the trainings first."""
    parts = {}
    for name, hour in raised.items():
        alarmed = hour < n_hours
        true, false = (alarmed & died).mean(axis=0), (alarmed & ~died).mean(axis=0)
        warning = np.where(alarmed & died, n_hours - 1 - hour, 0).mean(axis=0)
        worth = alarm_returns(hour, died, n_hours, rewards).mean(axis=0)
        parts[name] = np.stack([worth, true, false, warning])
    names = list(raised)

    def statistic(weights: FloatArray) -> FloatArray:
        deaths, all_patients = weights @ died, weights.sum(axis=1)
        rows, mean_worth = [], {}
        for name in names:
            worth, true, false, warning = parts[name] @ weights.T
            mean_worth[name] = worth / all_patients
            rows += [mean_worth[name], ratio(true, deaths), ratio(false, all_patients - deaths), ratio(true, true + false)]
            rows += [ratio(warning, true), ratio(warning, deaths)]
        return np.stack([*rows, *(mean_worth[name] - mean_worth[other] for name, other in pairs)])

    found = iter(bootstrap_estimates(statistic, len(died), np.random.default_rng(seed), n_resamples))
    alarms = {name: {measure: next(found) for measure in ALARMS} for name in names}
    changes: dict[str, _Estimates] = {name: {} for name, _ in pairs}
    for name, other in pairs:
        changes[name][other] = next(found)
    return alarms, changes


def _groups(alarmed: npt.NDArray[np.bool_], patients: Patients, seed: int, n_resamples: int) -> dict[str, GroupRates]:
    """An alarm is the answer "will die": its true and false positive rates by group."""
    answers = np.stack([~alarmed, alarmed], axis=2).astype(np.float64)
    units = np.arange(len(patients.died))
    diagnoses = Diagnoses(patients.died.astype(np.int64), answers, patients.attributes, units)
    return dict(diagnosis_metrics(diagnoses, np.random.default_rng(seed), n_resamples).groups)
