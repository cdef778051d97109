"""The trade-off ``lam`` as a schedule."""

import numpy as np
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

#: Points of training at which a schedule is tried before training starts
_PROBES = (1.0, 0.75, 0.5, 0.25, 0.0)


def lam_schedule(lam: float | str | Schedule) -> FloatSchedule:
    """
    :param lam: A number in [0, 1]; a schedule, i.e. a function of the remaining progress (from 1 to 0); or a string as in
        RL Zoo: ``"0.3"`` is constant and ``"lin_0.3"`` falls linearly from 0.3 to 0
    :return: The schedule
    :raises ValueError: If lam is none of these, or leaves [0, 1]
    """
    accepted = "a number in [0, 1], a schedule (function of the remaining progress) or a string such as 'lin_0.3'"
    schedule: Schedule
    if isinstance(lam, str):
        try:
            start = float(lam.removeprefix("lin_"))
        except ValueError as error:
            raise ValueError(f"`lam` must be {accepted}, got {lam!r}") from error
        schedule = LinearSchedule(start, 0.0, 1.0) if lam.startswith("lin_") else ConstantSchedule(start)
    elif callable(lam):
        schedule = lam
    elif isinstance(lam, (int, float, np.number)) and not isinstance(lam, bool):
        schedule = ConstantSchedule(float(lam))
    else:
        raise ValueError(f"`lam` must be {accepted}, got {lam!r}")
    for progress in _PROBES:
        evaluate_lam(schedule, progress)
    return FloatSchedule(schedule)


def evaluate_lam(schedule: Schedule, progress_remaining: float) -> float:
    """
    :param schedule: Schedule of lam
    :param progress_remaining: Remaining progress, clipped to [0, 1] (the last rollout may end later than training should)
    :return: lam, in [0, 1]
    :raises ValueError: If the schedule's result is outside [0, 1]
    """
    progress = min(max(progress_remaining, 0.0), 1.0)
    lam = float(schedule(progress))
    if not 0.0 <= lam <= 1.0:
        raise ValueError(f"`lam` must be in [0, 1], got {lam} at remaining progress {progress:.3g}")
    return lam


def is_always_zero(schedule: FloatSchedule) -> bool:
    """
    :param schedule: Schedule of lam
    :return: Whether it is the constant 0 (other schedules may be 0 now and positive later)
    """
    constant = schedule.value_schedule
    return isinstance(constant, ConstantSchedule) and constant.val == 0.0


def reaches_one(schedule: FloatSchedule) -> bool:
    """
    :param schedule: Schedule of lam
    :return: Whether the average counts nothing at some point of training, as far as the points tried tell
    """
    return any(evaluate_lam(schedule, progress) == 1.0 for progress in _PROBES)
