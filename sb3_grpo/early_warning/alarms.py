"""From scores by the hour to alarms, and what they are worth. Pure functions; N patients, H hours."""

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.early_warning import EscalationRewards

FloatArray = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_THRESHOLDS = 200  # so many are tried


def expected_return(escalating: FloatArray, died: Booleans, rewards: EscalationRewards) -> float:
    """
    Mean return of a policy that draws its decisions.

    :param escalating: (N, H) probability of escalating in each hour, if it was not done before
    :param died: (N,)
    :param rewards: what decisions are worth
    """
    waited = np.cumprod(1.0 - escalating, axis=1)
    before = np.hstack([np.ones((len(waited), 1)), waited[:, :-1]])
    n_hours = escalating.shape[1]
    worth = np.stack([alarm_returns(np.full(len(died), hour), died, n_hours, rewards) for hour in range(n_hours + 1)], axis=1)
    chances = np.hstack([before * escalating, waited[:, -1:]])
    return float((chances * worth).sum(axis=1).mean())


def escalated_by(escalating: FloatArray) -> FloatArray:
    """
    :param escalating: (..., H) probability of escalating in each hour, if it was not done before
    :return: (..., H) probability of having escalated by then
    """
    return np.asarray(1.0 - np.cumprod(1.0 - escalating, axis=-1), dtype=np.float64)


def alarm_hours(score: FloatArray, threshold: float) -> npt.NDArray[np.int64]:
    """
    :param score: (..., N, H); NaN where there is none
    :param threshold: the alarm is raised in the first hour with a score of at least this
    :return: (..., N) hour of the alarm, from 0; H where there is none
    """
    raised = np.nan_to_num(score, nan=-np.inf) >= threshold
    return np.where(raised.any(axis=-1), raised.argmax(axis=-1), score.shape[-1])


def alarm_returns(
    hour: npt.NDArray[np.int64], died: Booleans, n_hours: int, rewards: EscalationRewards
) -> npt.NDArray[np.float64]:
    """
    Return of an episode in which the alarm is raised in a certain hour.

    :param hour: (..., N) hour of the alarm, from 0; H for none
    :param died: (N,)
    :param n_hours: H
    :param rewards: what decisions are worth
    :return: (..., N)
    """
    alarmed = hour < n_hours
    announced = rewards.true_alarm - rewards.delay * hour
    missed = -rewards.missed_death - rewards.delay * (n_hours - 1)
    return np.where(died, np.where(alarmed, announced, missed), np.where(alarmed, -rewards.false_alarm, 0.0))


def best_threshold(score: FloatArray, died: Booleans, rewards: EscalationRewards) -> float:
    """
    The threshold whose alarms bring the largest mean return. Tried are quantiles of the patients' largest scores.

    :param score: (N, H); NaN where there is none
    :param died: (N,)
    :param rewards: what decisions are worth
    """
    largest = np.nanmax(score, axis=1)
    tried = np.unique(np.quantile(largest, np.linspace(0.0, 1.0, _THRESHOLDS)))
    n_hours = score.shape[1]
    worth = [alarm_returns(alarm_hours(score, each), died, n_hours, rewards).mean() for each in tried]
    return float(tried[int(np.argmax(worth))])
