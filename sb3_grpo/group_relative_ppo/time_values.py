"""A value head that sees only group and time: what a patient of a group can expect t decisions after the episode began.

V(g, t) is linear between knots in t, fitted to returns by least squares, and drawn to the fit of all groups as if one further
step at each knot had fared like them. Pure functions on a state of plain arrays, which is saved with the model. T is the
number of steps of a rollout, N of environments, G of groups, K of knots.
"""

from typing import Final, TypedDict

import numpy as np

#: Two knots for each doubling of time; what comes after the last one has its value
KNOTS: Final = np.array(sorted({0, *(round(2 ** (place / 2)) for place in range(35))}))

_PRIOR_STEPS: Final = 1.0


class TimeValues(TypedDict):
    """Sums over steps: each rollout multiplies the older ones by ``1 - smoothing``."""

    products: np.ndarray  # (G, K, K): of the basis functions
    targets: np.ndarray  # (G, K): of the basis functions and the returns
    ages: np.ndarray  # (N,) int64: decisions that the running episodes have seen


def initial_time_values(n_groups: int, n_envs: int) -> TimeValues:
    """
    :param n_groups: Number of groups
    :param n_envs: Number of environments
    :return: A state without data
    """
    n_knots = len(KNOTS)
    return TimeValues(
        products=np.zeros((n_groups, n_knots, n_knots)),
        targets=np.zeros((n_groups, n_knots)),
        ages=np.zeros(n_envs, dtype=np.int64),
    )


def fitted_for(state: TimeValues | None, n_groups: int, n_envs: int) -> TimeValues:
    """
    :param state: State after the previous rollout; None at first
    :param n_groups: Number of groups, at least that of the state
    :param n_envs: Number of environments; if it has changed, their episodes are new
    :return: The same with room for the groups
    """
    new = initial_time_values(n_groups, n_envs)
    if state is not None:
        n_known = len(state["targets"])
        new["products"][:n_known], new["targets"][:n_known] = state["products"], state["targets"]
        if len(state["ages"]) == n_envs:
            new["ages"] = state["ages"]
    return new


def step_ages(episode_starts: np.ndarray, before: np.ndarray) -> np.ndarray:
    """
    :param episode_starts: Whether decision t is the first of an episode, (T, N)
    :param before: Decisions that the running episodes have seen before the rollout, (N,)
    :return: How many decisions of its episode came before each decision, and before the one that follows if the episode goes
        on, (T + 1, N)
    """
    ages = np.empty((len(episode_starts) + 1, len(before)), dtype=np.int64)
    age = np.asarray(before)
    for step, starts in enumerate(episode_starts):
        ages[step] = age = np.where(starts, 0, age)
        age = age + 1
    ages[-1] = age
    return ages


def add_returns(state: TimeValues, ids: np.ndarray, ages: np.ndarray, returns: np.ndarray, smoothing: float) -> TimeValues:
    """
    :param state: State after the previous rollout; not changed
    :param ids: Group of each step, (T, N), -1 for none: such steps are left out
    :param ages: What :func:`step_ages` returned, (T + 1, N)
    :param returns: Returns, (T, N)
    :param smoothing: Share of the newest rollout, in (0, 1]
    :return: The new state
    """
    products, targets = (1 - smoothing) * state["products"], (1 - smoothing) * state["targets"]
    for group in range(len(targets)):
        members = ids == group
        basis = _basis(ages[:-1][members])
        products[group] += basis.T @ basis
        targets[group] += returns[members] @ basis
    return TimeValues(products=products, targets=targets, ages=ages[-1])


def time_values(state: TimeValues, ids: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """
    :param state: The fit
    :param ids: Groups, any shape; -1 for none: the value of all groups
    :param ages: How many decisions came before, same shape
    :return: V(g, t), same shape, float32; 0 without any data
    """
    values = np.einsum("...k,...k->...", _basis(ages), _coefficients(state)[ids])
    return values.astype(np.float32)


def _basis(ages: np.ndarray) -> np.ndarray:
    """Hat functions: the two knots around an age share the weight 1, (..., K)."""
    clipped = np.minimum(ages, KNOTS[-1])
    left = np.clip(np.searchsorted(KNOTS, clipped, side="right") - 1, 0, len(KNOTS) - 2)
    share = (clipped - KNOTS[left]) / (KNOTS[left + 1] - KNOTS[left])
    knots = np.eye(len(KNOTS))
    return (1 - share)[..., None] * knots[left] + share[..., None] * knots[left + 1]


def _coefficients(state: TimeValues) -> np.ndarray:
    """Values at the knots, (G + 1, K): the last row is that of all groups, which id -1 indexes."""
    products, targets = state["products"].sum(axis=0), state["targets"].sum(axis=0)
    n_steps = products.sum()
    mean = targets.sum() / n_steps if n_steps > 0 else 0.0
    prior = _PRIOR_STEPS * np.eye(len(KNOTS))
    pooled = mean + np.linalg.solve(products + prior, targets - products.sum(axis=1) * mean)
    rest = state["targets"] - state["products"] @ pooled
    of_groups = pooled + np.linalg.solve(state["products"] + prior, rest[..., None])[..., 0]
    return np.vstack([of_groups, pooled])
