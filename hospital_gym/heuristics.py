"""The rules in use today, as policies with SB3's ``predict()``.

Every rule is an order of the queue classes (an index per class, highest first) with the same escalation around it: which
patients may take an alternative bed, and from how many waiting patients on it calls overtime, opens surge beds or
transfers. Rules read the observation and the numbers of the hospital, nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.groups import Grouping
from hospital_gym.observation import ObservationLayout
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.layout import (
    ADMIT,
    ALTERNATIVE,
    CHILD,
    CRITICAL,
    N_BEDS,
    N_CLASSES,
    N_SEVERITIES,
    OVERTIME,
    SURGE_BLOCK,
    TRANSFER,
    WAIT,
    build_constants,
)
from hospital_gym.tuned_thresholds import TUNED_THRESHOLDS

Floats = npt.NDArray[np.float64]
_AGE, _SEVERITY = np.divmod(np.arange(N_CLASSES), N_SEVERITIES)


@dataclass(frozen=True)
class Escalation:
    """When a rule reaches for more than the matched bed.

    :param overtime: patients waiting at which an overtime crew is called
    :param block: patients waiting for a bed type at which a surge block is opened, by type
    :param transfer: patients waiting at which a transfer is arranged, for heads past their target, critical ones first
    :param reserve: free alternative beds that stay reserved from adults who are not critical
    :param adult_after: hours an adult who is not critical has waited before taking an alternative bed
    :param child_after: the same for children who are not critical
    :param critical_after: the same for critical patients
    """

    overtime: float
    block: tuple[float, ...]
    transfer: float
    reserve: float
    adult_after: float = 0.0
    child_after: float = 0.0
    critical_after: float = 0.0

    @classmethod
    def plain(cls, scenario: Scenario) -> "Escalation":
        """The escalation of the scenario's own thresholds: the one that rules the burn-in."""
        return cls(
            scenario.overtime_threshold, scenario.block_threshold, scenario.transfer_threshold, scenario.overflow_reserve
        )

    @classmethod
    def tuned(cls, scenario: Scenario) -> "Escalation":
        """Thresholds tuned for efficiency on other seeds, see :mod:`hospital_gym.tuned_thresholds`.

        :raises ValueError: if the scenario is none of the four hospitals
        """
        if scenario.name not in TUNED_THRESHOLDS:
            raise ValueError(f"scenario: no tuned thresholds for {scenario.name!r}, only for {sorted(TUNED_THRESHOLDS)}")
        return cls(**TUNED_THRESHOLDS[scenario.name])

    @classmethod
    def best(cls, scenario: Scenario) -> "Escalation":
        """The tuned thresholds where there are any, else the plain ones."""
        return cls.tuned(scenario) if scenario.name in TUNED_THRESHOLDS else cls.plain(scenario)


@dataclass(frozen=True)
class Situation:
    """What a rule sees of n hospitals, in natural units.

    :param wait: hours the head of each class has waited, shape (n, 9); 0 where nobody waits
    :param rate: recent benefit rate of each class's group, shape (n, 9)
    :param mean_rate: mean of it over the groups, shape (n, 1)
    """

    wait: Floats
    rate: Floats
    mean_rate: Floats


Index = Callable[[Situation], Floats]
"""Gives each class of each hospital a number, shape (n, 9); the highest goes first."""


class HeuristicPolicy:
    """A rule as a policy: an index per class, and an escalation.

    :param scenario: the hospital
    :param index: the order of the classes
    :param escalation: None for the plain one of the scenario
    :param grouping: the environment's groups; None for the published four
    """

    def __init__(
        self, scenario: Scenario, index: Index, escalation: Escalation | None = None, grouping: Grouping | None = None
    ) -> None:
        grouping = grouping or Grouping(scenario)
        self.index = index
        self.escalation = escalation or Escalation.plain(scenario)
        self.layout = ObservationLayout(len(grouping.names))
        constants = build_constants(scenario)[0]
        self._target = np.asarray(scenario.target_wait)[_SEVERITY]
        self._matched, self._alternative = constants["matched"], constants["alternative"]
        self._groups_of_class = _groups_of_classes(grouping)
        after = self.escalation
        self._after = np.where(
            _SEVERITY == CRITICAL, after.critical_after, np.where(_AGE == CHILD, after.child_after, after.adult_after)
        )
        self._reserve = np.where((_SEVERITY == CRITICAL) | (_AGE == CHILD), 0.0, self.escalation.reserve)

    def predict(
        self,
        observation: npt.NDArray[np.floating],
        state: Any = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[npt.NDArray[np.int64], Any]:
        """Actions for one observation or a batch.

        :param observation: shape (size,) or (n, size)
        :param state: returned as it is; rules have no memory
        :param episode_start: ignored
        :param deterministic: ignored; rules do not draw
        :return: actions, shape () or (n,), and the state
        :raises ValueError: if the observation has another size or holds NaN
        """
        batch = np.atleast_2d(observation)
        if batch.ndim != 2 or batch.shape[1] != self.layout.size:
            raise ValueError(f"observation: got shape {np.shape(observation)}, expected (n, {self.layout.size})")
        if np.isnan(batch).any():
            row = int(np.flatnonzero(np.isnan(batch).any(axis=1))[0])
            raise ValueError(f"observation: got NaN in row {row}, expected finite numbers")
        actions = self._act(batch)
        return (actions[0] if np.ndim(observation) == 1 else actions), state

    def _act(self, batch: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        count = self.layout.read(batch, "queue_count")
        wait = self.layout.read(batch, "head_wait") * self._target
        rate = self.layout.read(batch, "benefit_rate")
        free = self.layout.read(batch, "beds_free")
        mask = batch[:, self.layout.slices["action_mask"]] > 0.5
        situation = Situation(wait, rate @ self._groups_of_class.T, rate.mean(axis=1, keepdims=True))
        admit = mask[:, ADMIT:ALTERNATIVE]
        overflow = (wait >= self._after) & (np.rint(free[:, self._alternative]) > self._reserve)
        either = admit | (mask[:, ALTERNATIVE:TRANSFER] & overflow)
        score = np.where(either, self.index(situation), -np.inf)
        best = score.argmax(axis=1)
        rows = np.arange(len(batch))
        admission = np.where(admit[rows, best], ADMIT, ALTERNATIVE) + best
        return np.where(either.any(axis=1), admission, self._escalate(mask, np.rint(count), wait))

    def _escalate(self, mask: npt.NDArray[np.bool_], count: Floats, wait: Floats) -> npt.NDArray[np.int64]:
        """Overtime, then a block (critical first), then a transfer, else waiting."""
        levels = self.escalation
        waiting = count.sum(axis=1)
        late = np.where(mask[:, TRANSFER:OVERTIME] & (wait > self._target), wait + 1e6 * _SEVERITY, -np.inf)
        action = np.where((waiting >= levels.transfer) & np.isfinite(late).any(axis=1), TRANSFER + late.argmax(axis=1), WAIT)
        for bed in range(N_BEDS):  # a later, more urgent choice overrides an earlier one
            wanting = count[:, self._matched == bed].sum(axis=1)
            action = np.where(mask[:, SURGE_BLOCK + bed] & (wanting >= levels.block[bed]), SURGE_BLOCK + bed, action)
        return np.where(mask[:, OVERTIME] & (waiting >= levels.overtime), OVERTIME, action)


def _groups_of_classes(grouping: Grouping) -> Floats:
    """Weight of each group in each class, shape (9, G): equal among the groups its patients can belong to.

    Severity at arrival is not observed; the class's current severity stands for it.
    """
    age, sex, quintile, severity = np.indices((3, 2, 5, 3)).reshape(4, -1)
    group = grouping.assign({"age_band": age, "sex": sex, "quintile": quintile + 1, "severity": severity})
    weights = np.zeros((N_CLASSES, len(grouping.names)))
    weights[3 * age + severity, group] = 1.0
    return weights / weights.sum(axis=1, keepdims=True)


def c_mu_index(scenario: Scenario) -> Floats:
    """Benefit lost per hour of waiting and saved per hour of bed, by class, shape (9,).

    The cost of an hour's wait is need weight x (decay rate past the target + rates of leaving and, for critical patients, of
    death); divided by the mean stay it is the index of the c-mu rule (Cox and Smith, Queues, 1961).
    """
    slower = np.where(_AGE == 2, scenario.elderly_factor, 1.0)
    stay = 24.0 * np.asarray(scenario.mean_stay_days)[_AGE, _SEVERITY]
    rate = 1.0 / (np.asarray(scenario.benefit_tau)[_SEVERITY] * slower) + 1.0 / np.asarray(scenario.patience_hours)[_SEVERITY]
    rate += np.where(_SEVERITY == CRITICAL, 1.0 / (scenario.stage_hours[CRITICAL] * slower), 0.0)
    return np.asarray(scenario.need_weight)[_SEVERITY] * rate / stay


def first_come(scenario: Scenario) -> Index:
    """Whoever has waited longest."""
    return lambda s: s.wait


def triage(scenario: Scenario) -> Index:
    """The most severe first, within a severity whoever has waited longest."""
    return lambda s: 1e6 * _SEVERITY + s.wait


def relative_wait(scenario: Scenario) -> Index:
    """Whoever has waited longest relative to the target wait of the severity."""
    target = np.asarray(scenario.target_wait)[_SEVERITY]
    return lambda s: s.wait / target


def c_mu(scenario: Scenario) -> Index:
    """The greatest loss per hour of waiting and hour of bed first, see :func:`c_mu_index`."""
    index = c_mu_index(scenario)
    return lambda s: np.broadcast_to(index, s.wait.shape)


def shortest_first(scenario: Scenario) -> Index:
    """The shortest mean stay first."""
    stay = np.asarray(scenario.mean_stay_days)[_AGE, _SEVERITY]
    return lambda s: np.broadcast_to(-stay, s.wait.shape)


def furthest_behind(scenario: Scenario, weight: float = np.inf) -> Index:
    """The group whose recent benefit rate is lowest first, c-mu inside.

    :param weight: the index is c-mu x exp(weight x (mean rate - rate)); infinity looks at the rates alone
    """
    index = np.log(c_mu_index(scenario))
    if np.isinf(weight):
        return lambda s: -1e6 * s.rate + index
    return lambda s: index + weight * (s.mean_rate - s.rate)


RULES: Final[dict[str, Callable[[Scenario], Index]]] = {
    "first-come": first_come,
    "triage": triage,
    "relative-wait": relative_wait,
    "c-mu": c_mu,
    "shortest-first": shortest_first,
    "furthest-behind": furthest_behind,
    "furthest-behind-15": lambda scenario: furthest_behind(scenario, 15.0),
}
"""The orders by name."""


def make_heuristic(name: str, env: Any) -> HeuristicPolicy:
    """The rule of this name for an environment.

    :param name: a key of :data:`HEURISTICS`
    :param env: a hospital environment, possibly wrapped
    :raises ValueError: if there is no such rule, no tuned thresholds for this hospital, or the environment is no hospital
    """
    order = name.removesuffix("-tuned")
    if name not in HEURISTICS:
        raise ValueError(f"heuristic: got {name!r}, expected one of {sorted(HEURISTICS)}")
    unwrapped = getattr(env, "unwrapped", None)
    scenario = getattr(unwrapped, "scenario", None)
    if unwrapped is None or not isinstance(scenario, Scenario):
        raise ValueError(f"env: got {env!r}, expected a hospital environment such as Hospital-Urban-v0")
    escalation = Escalation.tuned(scenario) if order != name else None
    return HeuristicPolicy(scenario, RULES[order](scenario), escalation, unwrapped.simulator.grouping)


def _factory(name: str) -> Callable[[Any], HeuristicPolicy]:
    return lambda env: make_heuristic(name, env)


HEURISTICS: Final[dict[str, Callable[[Any], HeuristicPolicy]]] = {
    name: _factory(name) for name in (*RULES, "triage-tuned", "c-mu-tuned")
}
"""Policies by name: from an environment to the rule for it. The last two have thresholds tuned on other seeds and exist for
the four hospitals only."""
