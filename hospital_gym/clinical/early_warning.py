"""What early warning is about: which stays are watched, what an alarm pays, and what a step says."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import Ints
from hospital_gym.clinical.icu_observation import Observe, Scales, StayObservations
from hospital_gym.clinical.icu_stays import SPLITS, IcuStays
from hospital_gym.clinical.preprocessing import Floats
from hospital_gym.clinical.stays import load_stays

Split = Literal["train", "validation", "test", "all"]

WAIT: Final = 0
ESCALATE: Final = 1

GROUPS: Final = ("sex", "age_band")
"""Attributes whose combinations are the groups, if nothing else is said."""

HORIZON: Final = 48
"""Hours after admission by which an alarm must have come."""


@dataclass(frozen=True)
class EscalationRewards:
    """
    What an alarm and its absence are worth. The values are assumed; nobody has published any for this decision.

    With the defaults a death that is announced in the first hour is the unit, and a missed death costs as much. Three false
    alarms cost one unit. So, when only one decision is left, escalating pays from a risk of 1/7 on (:attr:`threshold`); one
    patient in 7.2 of set A dies, and neither "always" nor "never" is a good policy. Each hour of waiting costs a hundredth:
    announced after 48 hours, a death is still worth half, and it pays to wait for measurements that change one's mind.

    :param true_alarm: gain of escalating in the first hour for a patient who will die, >= 0
    :param false_alarm: cost of escalating for a patient who will live, >= 0
    :param delay: cost of each hour of waiting with a patient who will die, >= 0
    :param missed_death: cost of waiting in the last hour with a patient who will die, >= 0
    :raises ValueError: if one is not a finite number >= 0
    """

    true_alarm: float = 1.0
    false_alarm: float = 1 / 3
    delay: float = 0.01
    missed_death: float = 1.0

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not number or not 0 <= value < np.inf:
                raise ValueError(f"rewards: got {part.name}={value!r}, expected a finite number >= 0")

    @property
    def threshold(self) -> float:
        """Risk of death from which on escalating in the last hour pays; NaN if nothing is at stake."""
        stake = self.true_alarm + self.missed_death + self.false_alarm
        return self.false_alarm / stake if stake else float("nan")

    def of_steps(
        self, died: npt.NDArray[np.bool_], escalated: npt.NDArray[np.bool_], last: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        """
        :param died: (n,) whether the patient will die in hospital
        :param escalated: (n,) whether the alarm was raised
        :param last: (n,) whether this was the last hour
        :return: (n,) rewards of the step
        """
        alarm = np.where(died, self.true_alarm, -self.false_alarm)
        waited = np.where(died, -np.where(last, self.missed_death, self.delay), 0.0)
        return np.where(escalated, alarm, waited)


def checked_rewards(rewards: EscalationRewards | Mapping[str, float] | None) -> EscalationRewards:
    """
    :param rewards: the rewards, some of them by name, or None for the defaults
    :raises ValueError: if a name is unknown or a value no finite number >= 0
    """
    if isinstance(rewards, EscalationRewards):
        return rewards
    known = [part.name for part in fields(EscalationRewards)]
    if rewards is not None and not (isinstance(rewards, Mapping) and set(rewards) <= set(known)):
        raise ValueError(f"rewards: got {rewards!r}, expected EscalationRewards or a mapping with keys among {known}")
    return EscalationRewards(**(rewards or {}))


@dataclass(frozen=True, eq=False)
class Watch:
    """
    M stays of a part, ready to be watched.

    :param stays: all stays of the data
    :param rows: (M,) numbers of those watched
    :param observations: what is seen of these M
    :param died: (M,) whether the patient dies in hospital
    :param hours: (M,) hours that each is watched, at least 1
    :param group: (M,) group of each
    :param group_names: names of the G groups of all stays
    """

    stays: IcuStays
    rows: Ints = field(repr=False)
    observations: StayObservations = field(repr=False)
    died: npt.NDArray[np.bool_] = field(repr=False)
    hours: Ints = field(repr=False)
    group: Ints = field(repr=False)
    group_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def told(self, positions: Ints, hours: Ints) -> dict[str, npt.NDArray[Any]]:
        """
        What is said about n stays before a decision.

        :param positions: (n,) which of the M stays
        :param hours: (n,) the newest hour that is seen, from 0
        """
        return {"case_id": self.rows[positions], "group_id": self.group[positions], "hour": hours + 1}

    def step(
        self, positions: Ints, hours: Ints, actions: Ints, rewards: EscalationRewards
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], dict[str, npt.NDArray[Any]]]:
        """
        What n decisions bring.

        :param positions: (n,) which of the M stays
        :param hours: (n,) the newest hour that was seen, from 0
        :param actions: (n,) :data:`WAIT` or :data:`ESCALATE`
        :param rewards: what they are worth
        :return: rewards (n,), whether the episode ended (n,), and the columns of ``info``
        """
        died, escalated = self.died[positions], actions == ESCALATE
        last = hours + 1 >= self.hours[positions]
        ended = escalated | last
        exposure = np.zeros((len(positions), len(self.group_names)), dtype=np.float32)
        exposure[np.arange(len(positions)), self.group[positions]] = ended
        columns = {
            **self.told(positions, hours),
            "group_exposure": exposure,
            "elapsed": np.ones(len(positions)),
            "died": died,
            "escalated": escalated,
        }
        return rewards.of_steps(died, escalated, last), ended, columns


def prepare_watch(
    data: IcuStays | str | os.PathLike[str] | None = None,
    split: Split = "train",
    groups: Sequence[str] | str = GROUPS,
    window: int = HORIZON,
    observe: Observe = "window",
    horizon: int = HORIZON,
    split_seed: int = 0,
) -> Watch:
    """
    What an environment presents; see :class:`~hospital_gym.clinical.early_warning_env.EarlyWarningEnv` for the arguments.

    Made once and shared by environments with the same arguments.

    :raises ValueError: naming the argument, its value and what is accepted
    """
    if split not in (*SPLITS, "all"):
        raise ValueError(f"split: got {split!r}, expected one of {(*SPLITS, 'all')}")
    if isinstance(horizon, bool) or not isinstance(horizon, (int, np.integer)) or horizon < 1:
        raise ValueError(f"horizon: got {horizon!r}, expected a whole number of hours >= 1")
    names = (groups,) if isinstance(groups, str) else tuple(groups)
    return _prepared(load_stays(data), split, names, window, observe, int(horizon), split_seed)


@lru_cache(maxsize=4)
def _prepared(
    stays: IcuStays, split: Split, groups: tuple[str, ...], window: int, observe: Observe, horizon: int, split_seed: int
) -> Watch:
    ids, names = stays.groups(*groups)
    parts = stays.split(seed=split_seed)
    rows = np.arange(len(stays)) if split == "all" else parts[split]
    chosen = stays.subset(rows)
    observations = StayObservations(chosen, Scales.of(stays.subset(parts["train"])), window, observe)
    hours = np.minimum(chosen.hours, horizon)
    return Watch(stays, rows, observations, chosen.died == 1, hours, ids[rows], names)


def outcome_weights(watch: Watch, sampling: str) -> npt.NDArray[np.float64] | None:
    """
    How often each stay is presented.

    :param watch: M stays
    :param sampling: ``"uniform"``, or ``"outcome"`` for deaths and survivals as often as each other
    :return: (M,) that sum to 1; None if all are the same
    :raises ValueError: if it is neither
    """
    if sampling not in ("uniform", "outcome"):
        raise ValueError(f"sampling: got {sampling!r}, expected 'uniform' or 'outcome'")
    if sampling == "uniform" or watch.died.all() or not watch.died.any():
        return None
    weights = 0.5 / np.where(watch.died, watch.died.sum(), (~watch.died).sum())
    return np.asarray(weights)


def all_observations(watch: Watch, positions: Ints, hours: int) -> dict[str, Floats]:
    """
    What is seen of stays in each of their first hours, one stay after the other.

    :param watch: the stays
    :param positions: (n,) which of them
    :param hours: how many hours; stays with fewer are refused
    :return: observations, n * hours of each array
    :raises ValueError: if a stay is shorter
    """
    if (watch.hours[positions] < hours).any():
        raise ValueError(f"hours: got {hours}, but a stay is watched for {watch.hours[positions].min()}")
    return watch.observations.at(np.repeat(positions, hours), np.tile(np.arange(hours), len(positions)))
