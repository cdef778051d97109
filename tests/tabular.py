"""
Decision problems that are solved exactly, and what their objectives are worth.

Problems, solution and the rollout in exact proportions are those of the example ``id_only_gradients.py``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from id_only_gradients import Problem, Solution, shared_queue
from scipy.special import logsumexp

from sb3_grpo import GroupRobustPPO

#: One unit of performance in the environments made of problems
SCALE = 0.05

#: J(performance, shares, model) of an objective: the model is asked for what its objective keeps in memory
Value = Callable[[np.ndarray, np.ndarray, GroupRobustPPO], float]


def three_queues() -> Problem:
    """Three groups share a queue. Uniform service leaves the first group worst off, other policies other groups."""
    return shared_queue((0.35, 0.25, 0.15), (1.0, 0.8, 0.5), (0.1, 0.15, 0.05), places=2, steps=4)


def random_policy(problem: Problem, seed: int) -> np.ndarray:
    """Logits, (T, S, A)."""
    return np.random.default_rng(seed).normal(size=problem.rewards.shape[:3])


def worst_share(performance: np.ndarray, shares: np.ndarray, alpha: float) -> float:
    """
    Mean performance of the worst-off share alpha, as the largest t - E[max(t - z, 0)] / alpha
    (Rockafellar and Uryasev, 2000); a group's performance is one of the largest's places.
    """
    return max(float(level - shares @ np.maximum(level - performance, 0.0) / alpha) for level in performance)


def soft_minimum(performance: np.ndarray, temperature: float) -> float:
    """-T s log(mean of exp(-z / (T s)))."""
    unit = temperature * SCALE
    return float(-unit * (logsumexp(-performance / unit) - np.log(len(performance))))


#: Objective, its parameters and its J
OBJECTIVES: dict[str, tuple[Any, dict[str, Any] | None, Value]] = {
    "minimax": (
        "minimax",
        dict(forgetting=0.5, eta=1.0),
        lambda z, p, model: float(model.group_state["coefficients"] @ z),  # type: ignore[index]
    ),
    "cvar": ("cvar", dict(alpha=0.3), lambda z, p, model: worst_share(z, p, 0.3)),
    "softmin": ("softmin", dict(temperature=2.0), lambda z, p, model: soft_minimum(z, 2.0)),
    "gap": (
        "gap",
        dict(temperature=2.0, level_up_only=False),
        lambda z, p, model: soft_minimum(z, 2.0) + soft_minimum(-z, 2.0),
    ),
    "function": (lambda z: 1 / (1 + z), None, lambda z, p, model: float(np.log(1 + z).sum())),
}


def trade_off(lam: float, value: Value, model: GroupRobustPPO) -> Callable[[Solution], float]:
    """(1 - lam) average + lam J, of a solution."""

    def worth(solution: Solution) -> float:
        performance, shares = solution.performance, solution.shares
        return (1 - lam) * float(shares @ performance) + lam * value(performance, shares, model)

    return worth
