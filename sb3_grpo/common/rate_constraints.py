"""Targets instead of a trade-off: ``lam="auto"`` finds the smallest weight under which every group gets what was promised.

The problem is to maximise the average subject to z_g >= tau_g for every group g. Its Lagrangian, average + sum_g mu_g (z_g -
tau_g), is up to a factor (1 - lam) average + lam sum_g c_g z_g with S = sum_g mu_g, lam = S / (1 + S) and c = mu / S: so that
the multipliers mu are lam and the objective at once. They rise while a group misses its target and fall while it is met.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sb3_grpo.common.checks import is_number, is_positive
from sb3_grpo.common.objectives import GroupFacts, Objective, ObjectiveState


def shortfalls(
    performance: np.ndarray, standard_error: np.ndarray, min_benefit: np.ndarray | float | None, max_gap: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """
    How far each group is below its target tau_g, the higher one where there are two.

    :param performance: Performance of each group, z, (G,); NaN for a group without any data yet
    :param standard_error: Its standard error, (G,); NaN where unknown
    :param min_benefit: Least performance, a number or (G,); None: no such target
    :param max_gap: Largest distance to the best group; None: no such target. The best group is taken as it is: the others are
        to catch up. It is the best of those whose standard error is known, if there is one: a group met once sets no standard
    :return: tau_g - z_g, (G,), negative where the target is met, NaN for a group without data; and its standard error, (G,)
    """
    known = ~np.isnan(performance)
    missed = np.where(known, -np.inf, np.nan) if min_benefit is None else min_benefit - performance
    error = standard_error
    if max_gap is not None and known.any():
        sure = known & ~np.isnan(standard_error)
        best = np.nanargmax(np.where(sure, performance, np.nan) if sure.any() else performance)
        behind = performance[best] - max_gap - performance
        with np.errstate(invalid="ignore"):
            error = np.where(behind > missed, np.hypot(standard_error, standard_error[best]), standard_error)
        missed = np.fmax(missed, behind)
    return missed, error


def beyond_noise(deviation: np.ndarray, error: np.ndarray, dead_band: float) -> np.ndarray:
    """
    What remains of a deviation when ``dead_band`` standard errors are taken off: 0 within them, continuous beyond.

    :param deviation: (G,)
    :param error: Its standard error, (G,). Where it is NaN nothing remains, unless it is so for every group (as with
        ``smoothing=1``, which compares no rollouts): then everything does
    :param dead_band: Number of standard errors, at least 0
    :return: (G,), nearer to 0, of the same sign
    """
    if dead_band == 0 or np.isnan(error).all():
        return deviation
    return np.sign(deviation) * np.maximum(np.abs(deviation) - dead_band * np.nan_to_num(error, nan=np.inf), 0.0)


def controller_step(
    violation: np.ndarray,
    growth: np.ndarray,
    fresh: np.ndarray,
    integral: np.ndarray,
    gains: tuple[float, float, float],
    limit: float,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Multipliers of constraints by a PID controller, mu = max(0, K_P v + I + K_D dv) with I <- max(0, I + K_I v); with the
    integral alone this is projected gradient ascent on the dual problem with step size K_I.

    On a problem that is linear in the policy, gradient ascent alone circles around the solution: the multipliers turn only
    after the violation has changed its sign. K_P and K_D turn them earlier (https://arxiv.org/abs/2007.03964, where the
    derivative acts on growing violations only; here it also brakes a recovery).

    Anti-windup: the integral grows only as far as the other two parts leave room below the limit. So a long violation piles
    up nothing that would have to be undone, and when it is over the multipliers fall at once.

    :param violation: v, how far each constraint is missed, (G,), negative where it is met with room to spare
    :param growth: dv, by how much the violation grew since the update before, (G,)
    :param fresh: Whether the violation was measured anew, (G,): only then it enters the integral
    :param integral: I before, (G,), at least 0
    :param gains: K_P, K_I and K_D
    :param limit: Largest sum of the multipliers
    :return: Multipliers, (G,), and the new integral, (G,); both at least 0 and with a sum of at most ``limit``
    """
    proportional, integrating, derivative = gains
    swift = proportional * violation + derivative * growth
    room = max(limit - np.maximum(swift, 0.0).sum(), min(integral.sum(), limit))
    integral = _limited(np.maximum(integral + integrating * violation * fresh, 0.0), room)
    return _limited(np.maximum(swift + integral, 0.0), limit), integral


@dataclass(frozen=True, eq=False)
class RateConstraints(Objective):
    """
    The objective of ``lam="auto"``: as much average performance as the targets of the groups leave.

    Once per rollout the multiplier of each group follows from how far its performance is off the target, in units of
    ``performance_scale`` and less ``dead_band`` standard errors, so that the noise of a rare group drives nothing
    (:func:`~sb3_grpo.common.rate_constraints.controller_step`). A group without exposure in the rollout keeps its multiplier.
    Performance is not shrunk to the average here, for a target is about what the group itself received.

    :param min_benefit: Least performance, a number or (G,); None: no such target
    :param max_gap: Largest distance to the best group, at least 0; None: no such target
    :param proportional: Multiplier per unit of violation, at least 0
    :param integral: What each rollout adds to the multiplier, per unit of violation, positive
    :param derivative: Multiplier per unit by which the violation grew since the rollout before, at least 0. Performance is
        averaged over about 1 / ``smoothing`` rollouts, and ``proportional`` / ``smoothing`` would make up for that delay
    :param dead_band: Deviations below this many standard errors are taken for noise
    :param max_lam: Largest lam, inside (0, 1)
    :param patience: A target that is missed at the largest lam and came no nearer in this many such rollouts, at least 1,
        looks infeasible: the user is warned, and training goes on
    :raises ValueError: If a parameter is out of range, or there is no target
    """

    min_benefit: np.ndarray | float | None = None
    max_gap: float | None = None
    proportional: float = 20.0
    integral: float = 1.0
    derivative: float = 100.0
    dead_band: float = 0.5
    max_lam: float = 0.9
    patience: int = 100

    shrinks = False

    def __post_init__(self) -> None:
        if self.min_benefit is None and self.max_gap is None:
            raise ValueError("lam='auto' needs a target: `min_benefit` (of every group), `max_gap`, or both")
        if self.max_gap is not None and not (is_number(self.max_gap) and self.max_gap >= 0):
            raise ValueError(f"`max_gap` must be a finite number, at least 0, got {self.max_gap!r}")
        if not is_positive(self.integral):
            raise ValueError(f"`integral` of lam='auto' must be a positive, finite number, got {self.integral!r}")
        for name in ("proportional", "derivative", "dead_band"):
            value = getattr(self, name)
            if not (is_number(value) and value >= 0):
                raise ValueError(f"`{name}` of lam='auto' must be a finite number, at least 0, got {value!r}")
        if not (is_number(self.max_lam) and 0 < self.max_lam < 1):
            raise ValueError(f"`max_lam` of lam='auto' must be between 0 and 1, got {self.max_lam!r}")
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"`patience` of lam='auto' must be a whole number, at least 1, got {self.patience!r}")

    @classmethod
    def make(
        cls, min_benefit: np.ndarray | float | None, max_gap: float | None, parameters: dict[str, Any] | None
    ) -> "RateConstraints":
        """
        :param min_benefit: See the class
        :param max_gap: See the class
        :param parameters: Further parameters by name
        :return: The objective
        :raises ValueError: If a parameter is unknown or out of range, or there is no target
        """
        try:
            return cls(min_benefit=min_benefit, max_gap=max_gap, **(parameters or {}))
        except TypeError as error:
            raise ValueError(f"`objective_kwargs` {parameters} do not fit lam='auto': {error}") from error

    def __call__(self, performance: np.ndarray, state: ObjectiveState, facts: GroupFacts) -> tuple[np.ndarray, ObjectiveState]:
        """See :class:`Objective`."""
        n_groups = len(performance)
        previous = _grown(state.get("violation"), n_groups, np.nan)
        integral = _grown(state.get("integral"), n_groups, 0.0)
        missed, error = shortfalls(performance, facts.standard_error, self.min_benefit, self.max_gap)
        fresh = ~np.isnan(missed) & np.isfinite(facts.scale) & facts.present
        violation = np.where(fresh, beyond_noise(missed, error, self.dead_band) / facts.scale, previous)
        growth = np.nan_to_num(np.where(fresh, violation - previous, 0.0))
        gains = (self.proportional, self.integral, self.derivative)
        multipliers, integral = controller_step(np.nan_to_num(violation), growth, fresh, integral, gains, self._limit)
        stuck, least = self._count_stuck(missed, error, violation, multipliers, state)
        total = multipliers.sum()
        new_state = {
            "multipliers": multipliers,
            "integral": integral,
            "violation": violation,
            "missed": missed,
            "stuck": stuck,
            "least_missed": least,
        }
        return multipliers / total if total > 0 else facts.shares, new_state

    @property
    def _limit(self) -> float:
        """Sum of the multipliers at the largest lam."""
        return self.max_lam / (1.0 - self.max_lam)

    def _count_stuck(
        self, missed: np.ndarray, error: np.ndarray, violation: np.ndarray, multipliers: np.ndarray, state: ObjectiveState
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        While training still brings a group nearer to its target, or the group that is furthest from its own, nothing is
        infeasible, so each such step restarts the count. Once it has reached ``patience``, only meeting the target ends it.

        :return: For each group, number of rollouts at the largest lam without progress, (G,); and the smallest shortfall since
            the target was last met, as of which progress is counted: of each group and of the furthest, (G + 1,)
        """
        n_groups = len(missed)
        stuck = _grown(state.get("stuck"), n_groups, 0.0)
        least, least_furthest = np.full(n_groups, np.inf), np.inf
        if "least_missed" in state:
            least = _grown(state["least_missed"][:-1], n_groups, np.inf)
            least_furthest = state["least_missed"][-1]
        off_target = violation > 0
        if not off_target.any():
            return np.zeros(n_groups), np.full(n_groups + 1, np.inf)
        noise = self.dead_band * np.nan_to_num(error)
        nearer = off_target & (missed < least - noise)
        furthest = int(np.argmax(np.where(off_target, missed, -np.inf)))
        furthest_nearer = missed[furthest] < least_furthest - noise[furthest]
        at_limit = multipliers.sum() >= self._limit * (1 - 1e-9)
        progress = (nearer | furthest_nearer) & (stuck < self.patience)
        stuck = np.where(off_target, np.where(progress, 0.0, stuck) + at_limit, 0.0)
        least = np.where(off_target, np.where(nearer, missed, least), np.inf)
        return stuck, np.append(least, missed[furthest] if furthest_nearer else least_furthest)

    def lam(self, state: ObjectiveState) -> float:
        """See :class:`Objective`."""
        total = float(state["multipliers"].sum())
        return total / (1.0 + total)

    def log(self, state: ObjectiveState) -> dict[str, float]:
        """
        =======================  =============================================================================================
        ``group/target_missed``  how far the group furthest from its target is below it; negative: all targets are met
        ``group/infeasible``     number of groups whose target looks infeasible, see ``patience``
        =======================  =============================================================================================

        See :class:`Objective`.
        """
        if np.isnan(state["missed"]).all():
            return {}
        return {
            "group/target_missed": float(np.nanmax(state["missed"])),
            "group/infeasible": int(self.infeasible(state).sum()),
        }

    def infeasible(self, state: ObjectiveState) -> np.ndarray:
        """
        :param state: State of the objective
        :return: Whether the target looks infeasible, for each group, (G,)
        """
        return state["stuck"] >= self.patience

    def warning(self, before: ObjectiveState, after: ObjectiveState, names: Sequence[str]) -> str | None:
        """See :class:`Objective`."""
        newly = self.infeasible(after) & (_grown(before.get("stuck"), len(names), 0.0) < self.patience)
        if not newly.any():
            return None
        misses = zip(names, after["missed"], newly, strict=True)
        groups = ", ".join(f"{name!r} by {missed:.3g}" for name, missed, new in misses if new)
        return (
            f"The target of lam='auto' looks infeasible: it is missed for {groups}, and {self.patience} rollouts at the "
            f"largest lam, {self.max_lam}, brought it no nearer. Lower `min_benefit` or raise `max_gap`; training goes on"
        )


def _limited(values: np.ndarray, limit: float) -> np.ndarray:
    """Non-negative numbers, scaled down to the sum ``limit`` where it is exceeded."""
    total = values.sum()
    return values * (limit / total) if total > limit else values


def _grown(values: np.ndarray | None, n_groups: int, new: float) -> np.ndarray:
    """Groups met for the first time enter with ``new``."""
    known = np.zeros(0) if values is None else values
    return np.concatenate([known, np.full(n_groups - len(known), new)])
