"""The search tree: which action to look into next, and what was learned there; PUCT as pure functions.

A node is a moment with one sampled state. An action leads to several outcomes where chance decides; their number grows with
the root of the visits (progressive widening, Couetoux et al. 2011, https://hal.science/hal-00542673), and equal observations
are one outcome. Selection is that of AlphaZero (https://arxiv.org/abs/1712.01815) with values scaled to [0, 1] by the least
and greatest of the tree (MuZero, https://arxiv.org/abs/1911.08265).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Genes = npt.NDArray[np.int64]


def puct_scores(values: Floats, visits: Floats, prior: Floats, exploration: float) -> Floats:
    """Q + c P sqrt(sum of N) / (1 + N), shape (n,); before the first visit the prior alone decides.

    :param values: Q, mean value of each action in [0, 1], shape (n,)
    :param visits: N, shape (n,)
    :param prior: P, shape (n,)
    :param exploration: c
    """
    return values + exploration * prior * np.sqrt(max(float(visits.sum()), 1.0)) / (1.0 + visits)


def mixed_prior(prior: Floats, actions: Genes, suggested: Genes, weight: float) -> Floats:
    """Prior of which a share goes to the actions that candidates suggest, in proportion to how many suggest them.

    :param prior: probabilities of the actions, shape (n,)
    :param actions: numbers of the actions, shape (n,)
    :param suggested: numbers that candidates suggest, shape (m,); those that are not valid here are left out
    :param weight: the share, in [0, 1]
    :return: probabilities, shape (n,)
    """
    counts = (suggested[:, None] == actions).sum(axis=0)
    if counts.sum() == 0:
        return prior
    return (1.0 - weight) * prior + weight * counts / counts.sum()


def is_surely_better(trials: Sequence[float], value: float, returns: Sequence[float]) -> bool:
    """Whether the mean of ``trials`` is above ``value`` by more than two standard errors.

    Few trials may be alike by chance, so the standard deviation is that of all returns of the tree.

    :param trials: what a candidate brought, at least one
    :param value: what it is compared with
    :param returns: what all simulations brought
    """
    return bool(np.mean(trials) - value > 2.0 * np.std(returns) / np.sqrt(len(trials)))


def n_outcomes(visits: float, widening: float) -> int:
    """How many outcomes an action may have after so many visits: the least whole number >= (visits + 1)^widening."""
    return int(np.ceil((visits + 1.0) ** widening))


@dataclass(eq=False)
class Node:
    """One moment.

    :param observation: what was observed
    :param snapshot: the state; None where the episode is over or too deep to go on
    :param actions: the valid actions, shape (n,)
    :param prior: their probabilities, shape (n,)
    :param depth: steps from the root
    :param route: the actions from the root to here
    """

    observation: Any
    snapshot: Any
    actions: Genes
    prior: Floats
    depth: int
    route: tuple[int, ...] = ()
    visits: Floats = field(init=False)
    sums: Floats = field(init=False)
    edges: list[list["Edge"]] = field(init=False)

    def __post_init__(self) -> None:
        self.visits, self.sums = np.zeros(len(self.actions)), np.zeros(len(self.actions))
        self.edges = [[] for _ in self.actions]

    def values(self, unvisited: float) -> Floats:
        """Mean value of each action, shape (n,); those not yet visited get ``unvisited``."""
        return np.where(self.visits > 0, self.sums / np.maximum(self.visits, 1.0), unvisited)

    def most_visited(self) -> int:
        """Place of the most visited action; of equals the one of greater value, then of greater prior."""
        return int(np.lexsort((self.prior, self.values(-np.inf), self.visits))[-1])


@dataclass(eq=False)
class Edge:
    """One outcome of an action.

    :param node: where it led
    :param reward: what it brought
    :param discount: how much what follows counts
    :param count: how often it was met
    :param worth: the critic's value of where it led, once it was asked
    """

    node: Node
    reward: float
    discount: float
    count: int = 1
    worth: float | None = None


Step = tuple[Node, int, Edge]
"""One step of a path through the tree: node, place of the action, outcome."""


@dataclass
class Scale:
    """The range of the values met in the tree."""

    low: float = np.inf
    high: float = -np.inf

    def note(self, value: float) -> None:
        """Widen the range to hold a value."""
        self.low, self.high = min(self.low, value), max(self.high, value)

    def scaled(self, values: Floats) -> Floats:
        """Values as places in the range, in [0, 1]; 0.5 while there is none."""
        if not self.high > self.low:
            return np.full(len(values), 0.5)
        return np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)


def select_action(node: Node, scale: Scale, exploration: float) -> int:
    """Place of the action to look into next; actions not yet visited are taken to be worth the node's mean."""
    total = float(node.visits.sum())
    mean = float(node.sums.sum()) / total if total > 0 else 0.0
    return int(puct_scores(scale.scaled(node.values(mean)), node.visits, node.prior, exploration).argmax())


def choose_outcome(edges: list[Edge], rng: np.random.Generator) -> Edge:
    """One of the outcomes already met, in proportion to how often."""
    counts = np.array([edge.count for edge in edges], dtype=np.float64)
    return edges[int(rng.choice(len(edges), p=counts / counts.sum()))]


def same_outcome(edges: list[Edge], observation: Any, reward: float) -> Edge | None:
    """The outcome already met that looks the same, if any."""
    for edge in edges:
        if edge.reward == reward and _equal(edge.node.observation, observation):
            return edge
    return None


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(np.array_equal(one[key], other[key]) for key in one)
    return bool(np.array_equal(one, other))


def backpropagate(path: list[Step], value: float, scale: Scale) -> float:
    """Add a simulation's value to every step of its path.

    :param path: the steps from the root
    :param value: value of where it ended
    :return: the value at the root
    """
    for node, place, edge in reversed(path):
        value = edge.reward + edge.discount * value
        node.visits[place] += 1.0
        node.sums[place] += value
        scale.note(node.sums[place] / node.visits[place])
    return value


def principal_variation(root: Node) -> list[int]:
    """The most visited actions, one after the other, through the outcomes met most often."""
    sequence, node = [], root
    while node.visits.sum() > 0:
        place = node.most_visited()
        sequence.append(int(node.actions[place]))
        node = max(node.edges[place], key=lambda edge: edge.count).node
    return sequence
