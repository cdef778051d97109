"""A genetic algorithm on sequences of actions: selection, crossover, mutation and diversity as pure functions."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Genes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def tournament_selection(fitness: Floats, n: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices of ``n`` winners of tournaments among ``size`` drawn with replacement; of equals the first drawn wins.

    The best of N wins one tournament with probability 1 - (1 - 1/N)^size.

    :param fitness: shape (N,), greater is better
    :return: shape (n,)
    """
    drawn = rng.integers(len(fitness), size=(n, size))
    return np.asarray(drawn[np.arange(n), fitness[drawn].argmax(axis=1)])


def two_point_crossover(first: Genes, second: Genes, rng: np.random.Generator) -> Genes:
    """Children with the genes of ``first`` but for a stretch between two random cuts, which is of ``second``.

    :param first: shape (n, length)
    :param second: shape (n, length)
    :return: shape (n, length)
    """
    n, length = first.shape
    cuts = np.sort(rng.integers(length + 1, size=(n, 2)), axis=1)
    place = np.arange(length)
    return np.where((place >= cuts[:, :1]) & (place < cuts[:, 1:]), second, first)


def mutate(genes: Genes, rate: float, n_actions: int, rng: np.random.Generator) -> Genes:
    """Genes of which each is, with probability ``rate``, replaced by an action other than itself, uniformly.

    :param genes: shape (n, length)
    :param n_actions: number of actions
    :return: shape (n, length)
    """
    hit = (rng.random(genes.shape) < rate) & (n_actions > 1)
    shift = rng.integers(1, max(n_actions, 2), size=genes.shape)
    return np.where(hit, (genes + shift) % n_actions, genes)


def diversity(genes: Genes, n_actions: int) -> float:
    """Probability that two individuals drawn with replacement differ at a random place, in [0, 1 - 1/n_actions].

    :param genes: shape (n, length)
    :param n_actions: number of actions
    """
    shares = (genes[:, :, None] == np.arange(n_actions)).mean(axis=0)
    return float(1.0 - (shares**2).sum(axis=1).mean())


@dataclass
class Evolution:
    """A population that evolves: elites stay, the others are replaced by mutated children of tournament winners.

    :param genes: the first population, shape (n, length), n at least 2
    :param n_actions: number of actions
    :param rng: the source of randomness
    :param elites: how many of the best stay
    :param tournament: individuals in a tournament
    :param crossover_rate: probability that a child has two parents
    :param mutation_rate: probability that a gene changes; None: one gene of each child on average
    """

    genes: Genes
    n_actions: int
    rng: np.random.Generator
    elites: int = 2
    tournament: int = 2
    crossover_rate: float = 0.9
    mutation_rate: float | None = None
    fitness: Floats = field(init=False)
    best_fitness: list[float] = field(init=False, default_factory=list)
    diversities: list[float] = field(init=False, default_factory=list)
    stagnation: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.fitness = np.full(len(self.genes), np.nan)

    @property
    def n_unknown(self) -> int:
        """How many individuals have not been valued."""
        return int(np.isnan(self.fitness).sum())

    def value(self, evaluate: Callable[[Genes], Floats]) -> None:
        """Value whoever has not been valued, and note best fitness, diversity and stagnation of the generation.

        :param evaluate: from genes (n, length) to fitness (n,)
        """
        unknown = np.isnan(self.fitness)
        self.fitness[unknown] = evaluate(self.genes[unknown])
        best = float(self.fitness.max())
        improved = not self.best_fitness or best > max(self.best_fitness)
        self.stagnation = 0 if improved else self.stagnation + 1
        self.best_fitness.append(best)
        self.diversities.append(diversity(self.genes, self.n_actions))

    def breed(self) -> None:
        """Replace all but the elites by children."""
        order = np.argsort(-self.fitness, kind="stable")[: self.elites]
        n = len(self.genes) - len(order)
        parents = tournament_selection(self.fitness, 2 * n, self.tournament, self.rng)
        first, second = self.genes[parents[:n]], self.genes[parents[n:]]
        crossed = self.rng.random((n, 1)) < self.crossover_rate
        children = np.where(crossed, two_point_crossover(first, second, self.rng), first)
        rate = 1.0 / self.genes.shape[1] if self.mutation_rate is None else self.mutation_rate
        children = mutate(children, rate, self.n_actions, self.rng)
        self.genes = np.concatenate([self.genes[order], children])
        self.fitness = np.concatenate([self.fitness[order], np.full(n, np.nan)])

    def best(self, n: int) -> tuple[Genes, Floats]:
        """The best distinct individuals that have been valued, best first.

        :param n: how many, at most
        :return: genes (m, length) and fitness (m,)
        """
        known = np.flatnonzero(~np.isnan(self.fitness))
        order = known[np.argsort(-self.fitness[known], kind="stable")]
        _, places = np.unique(self.genes[order], axis=0, return_index=True)
        chosen = order[np.sort(places)[:n]]
        return self.genes[chosen], self.fitness[chosen]
