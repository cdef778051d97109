"""What a search returns."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PlanStatistics:
    """How a plan came about.

    :param simulations: trajectories tried, of both parts
    :param steps: their steps, those along outcomes already known to the tree included
    :param seconds: wall-clock time from the beginning of the search
    :param is_clairvoyant: whether the search saw the future that the environment will really take
    :param interrupted: whether Ctrl-C ended it
    :param generations: generations that the genetic algorithm valued
    :param best_fitness: the best individual's value in each of them
    :param diversity: probability that two individuals differ at a random place, in each of them
    :param stagnation: generations since the best last improved
    :param stagnated: whether stagnation ended the genetic part, and the tree got the rest of the budget
    :param nodes: nodes of the tree
    :param depth: the greatest depth among them
    :param root: for each action valid now its prior, visits and value in the tree (NaN: not visited)
    """

    simulations: int
    steps: int
    seconds: float
    is_clairvoyant: bool
    interrupted: bool
    generations: int
    best_fitness: tuple[float, ...]
    diversity: tuple[float, ...]
    stagnation: int
    stagnated: bool
    nodes: int
    depth: int
    root: dict[int, tuple[float, int, float]]


@dataclass(frozen=True)
class Plan:
    """What to do now.

    :param action: the action to take
    :param sequence: it and those that would follow. Where chance decides, only the first is meant to be taken: plan again then
    :param value: what it is expected to bring, discounted; NaN if nothing was tried
    :param statistics: how it came about
    """

    action: int
    sequence: tuple[int, ...]
    value: float
    statistics: PlanStatistics


class Latency(NamedTuple):
    """Seconds that decisions took.

    :param decisions: how many
    :param p50: median
    :param p95: 95th percentile
    """

    decisions: int
    p50: float
    p95: float


def latency_of(seconds: npt.ArrayLike) -> Latency:
    """Quantiles of the time that decisions took; NaN if there were none.

    :param seconds: of each decision
    """
    values: npt.NDArray[Any] = np.asarray(seconds, dtype=np.float64)
    if not len(values):
        return Latency(0, np.nan, np.nan)
    return Latency(len(values), *(float(q) for q in np.quantile(values, (0.5, 0.95))))
