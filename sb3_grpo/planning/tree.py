"""The search tree: which action to look into next, and what was learned there; PUCT as pure functions.

A node is a moment with one sampled state. An action leads to several outcomes where chance decides; their number grows with
the root of the visits (progressive widening, Couetoux et al. 2011, https://hal.science/hal-00542673), and equal observations
are one outcome. What an action is worth is a mean over outcomes, not over visits: so an outcome that was looked into more
deeply than others gets no more weight. Selection is that of AlphaZero (https://arxiv.org/abs/1712.01815) with values scaled to
[0, 1] by the least and greatest of the tree (MuZero, https://arxiv.org/abs/1911.08265).
"""

from collections.abc import Iterable, Sequence
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
class Edge:
    """One outcome of an action.

    :param observation: what is observed then
    :param snapshot: the state then; None where the episode is over or too deep to go on
    :param reward: what it brought
    :param discount: how much what follows counts
    :param worth: what follows is worth, as judged when it was first met; None: the search went on at once
    :param count: how often it was drawn
    :param node: the moment to which it leads, once the search went on from there
    """

    observation: Any
    snapshot: Any
    reward: float
    discount: float
    worth: float | None = None
    count: int = 0
    node: "Node | None" = None
    value: float = 0.0
    """What follows is worth, by all that was learned."""

    def judge(self, worth: float) -> None:
        """Note what follows is worth at first sight."""
        self.worth = self.value = worth

    def learn(self) -> None:
        """Learn from the moment to which it leads: the mean over visits, the first judgement counting as one."""
        n = 0.0 if self.node is None else float(self.node.visits.sum())
        if self.node is not None and n > 0:
            judged = 0.0 if self.worth is None else self.worth
            self.value = (judged + n * self.node.mean()) / (n + (self.worth is not None))


@dataclass(eq=False)
class Node:
    """One moment. An action is worth the mean over its outcomes, in proportion to how often they were drawn.

    :param actions: the valid actions, shape (n,)
    :param prior: their probabilities, shape (n,)
    :param snapshot: the state
    :param route: the actions from the root to here
    """

    actions: Genes
    prior: Floats
    snapshot: Any
    route: tuple[int, ...] = ()
    visits: Floats = field(init=False)
    sums: Floats = field(init=False)
    draws: Floats = field(init=False)
    edges: list[dict[Any, Edge]] = field(init=False)

    def __post_init__(self) -> None:
        self.visits, self.sums, self.draws = np.zeros((3, len(self.actions)))
        self.edges = [{} for _ in self.actions]

    @property
    def depth(self) -> int:
        """Steps from the root."""
        return len(self.route)

    def values(self, unknown: float) -> Floats:
        """Value of each action, shape (n,); those not yet visited get ``unknown``."""
        return np.where(self.draws > 0, self.sums / np.maximum(self.draws, 1.0), unknown)

    def mean(self) -> float:
        """Mean value over visits; 0 if there was none."""
        return float(self.visits @ self.values(0.0) / max(self.visits.sum(), 1.0))

    def add(self, place: int, edge: Edge, count: int) -> None:
        """Note that an outcome of an action was drawn."""
        edge.count += count
        self.draws[place] += count
        self.sums[place] += count * (edge.reward + edge.discount * edge.value)

    def learn(self, place: int, edge: Edge) -> float:
        """Note a visit to an action that led on through an outcome; returns the action's value."""
        before = edge.value
        edge.learn()
        self.sums[place] += edge.count * edge.discount * (edge.value - before)
        self.visits[place] += 1.0
        return float(self.sums[place] / self.draws[place])

    def best(self) -> int:
        """Place of the action of greatest value among those visited at least a quarter as often as the most visited one; of
        equals the more visited, then that of greater prior. Visits alone lag behind what was learned late."""
        tried = self.visits >= 0.25 * self.visits.max()
        return int(np.lexsort((self.prior, self.visits, np.where(tried, self.values(-np.inf), -np.inf)))[-1])

    def moments(self, place: int) -> tuple[float, float]:
        """Mean and squared standard error of an action's value, from the spread of its outcomes; infinite after one draw."""
        met = list(self.edges[place].values())
        counts = np.array([edge.count for edge in met], dtype=np.float64)
        values = np.array([edge.reward + edge.discount * edge.value for edge in met])
        n, mean = counts.sum(), float(counts @ values / max(counts.sum(), 1.0))
        return mean, float(counts @ (values - mean) ** 2 / (n * (n - 1.0))) if n > 1 else np.inf

    def better_than(self, usual: int, errors: float) -> int:
        """Place of the best action if it beats the usual one by so many standard errors of the difference, else the usual.

        :param usual: place of the action that the guide would take
        :param errors: how many
        """
        if self.draws[usual] == 0:
            return self.best()
        # However seldom it was tried: errors say how sure it is
        best = int(np.where(self.draws > 1, self.values(-np.inf), -np.inf).argmax())
        (mean, error), (usual_mean, usual_error) = self.moments(best), self.moments(usual)
        return best if mean - usual_mean > errors * np.sqrt(error + usual_error) else usual


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
    return int(puct_scores(scale.scaled(node.values(node.mean())), node.visits, node.prior, exploration).argmax())


def wants_draw(visits: float, draws: float, distinct: int, n: int, widening: float) -> bool:
    """Whether an action is to be tried again, not only looked into where it has led so far.

    After v visits up to (v + 1)^widening outcomes are wanted. Where chance has shown nothing so far, that is also the number
    of draws; where it has, frequencies are worth a draw.

    :param visits: how often the action was selected
    :param draws: how often it was tried
    :param distinct: how many outcomes it had
    :param n: how many tries are made at once
    :param widening: exponent
    """
    limit = n * n_outcomes(visits, widening)
    return draws < limit or (n == 1 and 1 < distinct < limit)


def choose_outcome(edges: Iterable[Edge], rng: np.random.Generator) -> Edge:
    """One of the outcomes already met, in proportion to how often."""
    met = list(edges)
    if len(met) == 1:
        return met[0]
    limits = np.cumsum([edge.count for edge in met])
    return met[int(limits.searchsorted(rng.random() * limits[-1], side="right"))]


def outcome_key(observation: Any, reward: float) -> Any:
    """What outcomes that look the same have in common."""
    if isinstance(observation, dict):
        return reward, *(np.asarray(value).tobytes() for value in observation.values())
    return reward, observation if isinstance(observation, int) else np.asarray(observation).tobytes()


def backpropagate(path: list[Step], scale: Scale) -> float:
    """Let every step of a path learn from the next.

    :param path: the steps from the root
    :return: what the path itself brought, with what follows it as it was judged
    """
    value = path[-1][2].worth or 0.0
    for node, place, edge in reversed(path):
        value = edge.reward + edge.discount * value
        scale.note(node.learn(place, edge))
    return value


def principal_variation(root: Node, first: int) -> list[int]:
    """The best actions, one after the other, through the outcomes met most often.

    :param root: where to begin
    :param first: place of the first action
    """
    sequence: list[int] = []
    node: Node | None = root
    while node is not None and node.visits.sum() > 0:
        place = node.best() if sequence else first
        sequence.append(int(node.actions[place]))
        met = node.edges[place].values()
        node = max(met, key=lambda edge: edge.count).node if met else None
    return sequence
