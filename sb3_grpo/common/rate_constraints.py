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


def rate_targets(performance: np.ndarray, min_benefit: np.ndarray | float | None, max_gap: float | None) -> np.ndarray:
    """
    :param performance: Performance of each group, z, (G,); NaN for a group without any data yet
    :param min_benefit: Least performance, a number or (G,)
    :param max_gap: Largest distance to the best group. The best group is taken as it is: the others are to catch up
    :return: Targets tau, (G,): the higher of the two
    """
    targets = np.full(len(performance), -np.inf)
    if min_benefit is not None:
        targets = np.fmax(targets, min_benefit)
    if max_gap is not None and not np.isnan(performance).all():
        targets = np.fmax(targets, np.nanmax(performance) - max_gap)
    return targets


def controller_step(
    violation: np.ndarray, integral: np.ndarray, previous: np.ndarray, gains: tuple[float, float, float], limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """
    Multipliers of constraints by a PID controller; with the integral alone this is gradient ascent on the dual problem, step
    size ``gains[1]``. The derivative acts on growing violations only, as in https://arxiv.org/abs/2007.03964.

    The integral stays where the multipliers can be (anti-windup), so that it comes back without delay.

    :param violation: How far each constraint is missed, (G,), negative where it is met with room to spare
    :param integral: Integral part so far, (G,)
    :param previous: Violation before, (G,)
    :param gains: Of the violation itself, its integral and its growth
    :param limit: Largest sum of the multipliers
    :return: Multipliers, (G,), and the new integral, (G,); both at least 0
    """
    proportional, integrating, derivative = gains
    integral = np.maximum(integral + integrating * violation, 0.0)
    integral = integral * min(1.0, limit / max(integral.sum(), limit))
    growth = np.maximum(violation - previous, 0.0)
    multipliers = np.maximum(proportional * violation + integral + derivative * growth, 0.0)
    return multipliers * min(1.0, limit / max(multipliers.sum(), limit)), integral


@dataclass(frozen=True, eq=False)
class RateConstraints(Objective):
    """
    The objective of ``lam="auto"``: as much average performance as the targets of the groups leave.

    A group's multiplier moves only when its performance is off the target by more than ``dead_band`` standard errors, so that
    the noise of a rare group does not drive it.

    :param min_benefit: Least performance, a number or (G,); None: no such target
    :param max_gap: Largest distance to the best group, at least 0; None: no such target
    :param integral: Step of the multipliers per rollout and unit (``performance_scale``) of violation
    :param proportional: Multiplier per unit of violation, on top of the integral
    :param derivative: Multiplier per unit by which the violation grew since the rollout before
    :param dead_band: Deviations below this many standard errors are taken for noise
    :param max_lam: Largest lam
    :param patience: After this many rollouts in a row with the largest lam and a missed target, the user is warned
    :raises ValueError: If a parameter is out of range, or there is no target
    """

    min_benefit: np.ndarray | float | None = None
    max_gap: float | None = None
    integral: float = 0.05
    proportional: float = 0.0
    derivative: float = 0.0
    dead_band: float = 1.0
    max_lam: float = 0.9
    patience: int = 50

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
        integral, previous, stuck = (_grown(state.get(key), n_groups) for key in ("integral", "violation", "stuck"))
        missed = rate_targets(performance, self.min_benefit, self.max_gap) - performance
        certain = np.abs(missed) > self.dead_band * np.nan_to_num(facts.standard_error)
        known = np.isfinite(missed) & np.isfinite(facts.scale)
        violation = np.where(known & certain, missed, 0.0) / (facts.scale if np.isfinite(facts.scale) else 1.0)
        limit = self.max_lam / (1.0 - self.max_lam)
        gains = (self.proportional, self.integral, self.derivative)
        multipliers, integral = controller_step(violation, integral, previous, gains, limit)
        total = multipliers.sum()
        at_limit = total >= limit * (1 - 1e-9)
        new_state = {
            "multipliers": multipliers,
            "integral": integral,
            "violation": violation,
            "missed": np.where(known, missed, 0.0),
            "stuck": np.where(at_limit & (violation > 0), stuck + 1, 0.0),
        }
        return multipliers / total if total > 0 else facts.shares, new_state

    def lam(self, state: ObjectiveState) -> float:
        """See :class:`Objective`."""
        total = float(state["multipliers"].sum())
        return total / (1.0 + total)

    def log(self, state: ObjectiveState) -> dict[str, float]:
        """
        =======================  =============================================================================================
        ``group/target_missed``  how far the group furthest from its target is below it; negative: all targets are met
        ``group/infeasible``     number of groups that stayed below their target for ``patience`` rollouts at the largest lam
        =======================  =============================================================================================

        See :class:`Objective`.
        """
        infeasible = int((state["stuck"] >= self.patience).sum())
        return {"group/target_missed": float(state["missed"].max()), "group/infeasible": infeasible}

    def warning(self, before: ObjectiveState, after: ObjectiveState, names: Sequence[str]) -> str | None:
        """See :class:`Objective`."""
        stuck = after["stuck"]
        newly = (stuck >= self.patience) & (_grown(before.get("stuck"), len(stuck)) < self.patience)
        if not newly.any():
            return None
        misses = zip(names, after["missed"], newly, strict=True)
        groups = ", ".join(f"{name!r} by {missed:.3g}" for name, missed, new in misses if new)
        return (
            f"The target of lam='auto' looks infeasible: after {self.patience} rollouts at the largest lam, {self.max_lam}, "
            f"it is missed for {groups}. Lower `min_benefit` or raise `max_gap`; training goes on at the largest lam"
        )


def _grown(values: np.ndarray | None, n_groups: int) -> np.ndarray:
    """Groups met for the first time enter with 0."""
    grown = np.zeros(n_groups)
    if values is not None:
        grown[: len(values)] = values
    return grown
