"""The search for one decision: evolve sequences, then look into the best ones with a tree."""

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sb3_grpo.planning import tree
from sb3_grpo.planning.genetic import Evolution
from sb3_grpo.planning.guide import Guide
from sb3_grpo.planning.plan import Plan, PlanStatistics
from sb3_grpo.planning.settings import Settings
from sb3_grpo.planning.simulation import Simulation
from sb3_grpo.planning.tree import Edge, Node

Floats = npt.NDArray[np.float64]
Genes = npt.NDArray[np.int64]

_TRIALS: Final = 10
"""One simulation of the tree in so many follows the best candidate, in a future that was not used to choose it."""


class _Trajectory(NamedTuple):
    """What a trajectory brought up to where it stopped: value, actions, the discount there, and the observation there."""

    value: float
    actions: list[int]
    discount: float
    observation: Any


class Search:
    """One search from the present moment of an environment.

    :param simulation: the copy to try things out in
    :param guide: prior and value
    :param settings: as the planner was made
    :param observation: what is observed now
    :param rng: the source of randomness
    :param inherited: sequences with which to begin, best first, shape (n, at most horizon)
    """

    def __init__(
        self,
        simulation: Simulation,
        guide: Guide,
        settings: Settings,
        observation: Any,
        rng: np.random.Generator,
        inherited: Genes,
    ) -> None:
        self._simulation, self._guide, self._settings, self._rng = simulation, guide, settings, rng
        self._begin, self._first_step = time.perf_counter(), simulation.n_steps
        self._simulations = self._known_steps = 0
        self._candidates: Genes = np.empty((0, settings.horizon), dtype=np.int64)
        self._inherited = inherited[: settings.population // 2]
        self._moment = simulation.now()
        simulation.restore(self._moment)
        self._observation = observation
        self._nodes = self._depth = 0
        self._root = self._node(observation, self._moment, ())
        self._usual = int(self._root.prior.argmax())
        self._scale = tree.Scale()
        self._returns: list[float] = []  # of the tree's simulations
        self._trials: list[float] = []  # of those that followed the best candidate
        self._evolution: Evolution | None = None
        self._stagnated = False
        self._best: tuple[float, list[int]] | None = None  # of whole trajectories, where the future is known

    def run(self) -> Iterator[None]:
        """Search until the budget is spent; :meth:`plan` may be asked whenever it yields."""
        if len(self._root.actions) == 1:
            return
        settings = self._settings
        first_generation = settings.population * (1 if settings.is_clairvoyant else int(settings.futures))
        if settings.genetic_share == 1.0 or self._affords(first_generation, settings.genetic_share):
            yield from self._evolve()
        if settings.genetic_share < 1.0:
            yield from self._grow()

    def plan(self, interrupted: bool = False) -> Plan:
        """The best plan so far.

        :param interrupted: whether the user ended the search
        """
        value, sequence = self._choice()
        evolution, root = self._evolution, self._root
        values = root.values(np.nan)
        statistics = PlanStatistics(
            simulations=self._simulations,
            steps=self._steps,
            seconds=time.perf_counter() - self._begin,
            is_clairvoyant=self._settings.is_clairvoyant,
            interrupted=interrupted,
            generations=0 if evolution is None else len(evolution.best_fitness),
            best_fitness=() if evolution is None else tuple(evolution.best_fitness),
            diversity=() if evolution is None else tuple(evolution.diversities),
            stagnation=0 if evolution is None else evolution.stagnation,
            stagnated=self._stagnated,
            nodes=self._nodes,
            depth=self._depth,
            root={
                int(action): (float(root.prior[i]), int(root.visits[i]), float(values[i]))
                for i, action in enumerate(root.actions)
            },
        )
        return Plan(sequence[0], tuple(sequence), value, statistics)

    def _choice(self) -> tuple[float, list[int]]:
        if self._best is not None:
            return self._best
        if self._root.visits.sum() > 0:
            place = self._root.best()
            if self._guide.acts and self._settings.caution > 0.0:
                place = self._root.better_than(self._usual, self._settings.caution)
            value = float(self._root.values(np.nan)[place])
            is_valid = len(self._trials) > 0 and self._candidates[0, 0] in self._root.actions
            if is_valid and tree.is_surely_better(self._trials, value, self._returns):
                return float(np.mean(self._trials)), self._candidates[0].tolist()
            return value, tree.principal_variation(self._root, place)
        if self._evolution is not None and self._evolution.best_fitness:
            genes, fitness = self._evolution.best(1)
            first = int(genes[0][0])
            if first in self._root.actions:
                return float(fitness[0]), genes[0].tolist()
        return np.nan, [int(self._root.actions[self._root.prior.argmax()])]

    @property
    def _steps(self) -> int:
        """Steps of all trajectories so far, those along outcomes already known included."""
        return self._simulation.n_steps - self._first_step + self._known_steps

    def _affords(self, n: int, share: float = 1.0) -> bool:
        """Whether n more simulations fit into a share of the budget, if they cost what those so far did on average."""
        settings, so_far = self._settings, max(self._simulations, 1)
        seconds = time.perf_counter() - self._begin
        budgets = ((settings.simulations, self._simulations), (settings.steps, self._steps), (settings.seconds, seconds))
        return all(most is None or spent + n * spent / so_far <= share * most for most, spent in budgets)

    def _redraw(self) -> None:
        if not self._settings.is_clairvoyant:
            self._simulation.redraw(int(self._rng.integers(2**63)))

    # --- the genetic algorithm ------------------------------------------------------------------------------------------

    def _evolve(self) -> Iterator[None]:
        settings = self._settings
        futures = []
        for _ in range(1 if settings.futures == "actual" else settings.futures):
            self._simulation.restore(self._moment)
            self._redraw()
            futures.append(self._simulation.snapshot())

        def evaluate(genes: Genes) -> Floats:
            ends = [self._play(future, sequence.tolist()) for sequence in genes for future in futures]
            worth = self._guide.values([end.observation for end in ends])
            values = np.array([end.value + end.discount * v for end, v in zip(ends, worth, strict=True)])
            self._simulations += len(ends)
            if settings.is_clairvoyant:
                for end, value in zip(ends, values, strict=True):
                    self._note_best(float(value), end.actions)
            return values.reshape(len(genes), len(futures)).mean(axis=1)

        genes = np.array([self._first_sequence(i, futures[i % len(futures)]) for i in range(settings.population)])
        evolution = Evolution(
            genes,
            self._simulation.n_actions,
            self._rng,
            settings.elites,
            settings.tournament,
            settings.crossover_rate,
            settings.mutation_rate,
        )
        self._evolution = evolution
        while True:
            evolution.value(evaluate)
            self._candidates = evolution.best(settings.candidates)[0]
            yield
            if not self._affords((settings.population - settings.elites) * len(futures), settings.genetic_share):
                return
            if settings.patience is not None and evolution.stagnation >= settings.patience and settings.genetic_share < 1.0:
                self._stagnated = True
                return
            evolution.breed()

    def bequeath(self) -> Genes:
        """What the genetic algorithm found that begins with the action of the plan, without that action, best first."""
        if self._evolution is None or not self._evolution.best_fitness:
            return np.empty((0, self._settings.horizon - 1), dtype=np.int64)
        genes, _ = self._evolution.best(len(self._evolution.genes))
        return genes[genes[:, 0] == self.plan().action, 1:]

    def _first_sequence(self, number: int, future: Any) -> list[int]:
        """Individual of the first population: inherited, or as the guide would act if there is one, or random."""
        length, n_actions = self._settings.horizon, self._simulation.n_actions
        begun = []
        if number < len(self._inherited):
            begun = self._inherited[number].tolist()
        elif self._guide.acts and number % 2 == 0:
            begun = self._play(future, []).actions
            self._simulations += 1
        else:
            begun = [int(self._rng.choice(self._root.actions))]
        return [*begun, *self._rng.integers(n_actions, size=length).tolist()][:length]

    def _play(self, start: Any, genes: list[int]) -> _Trajectory:
        self._simulation.restore(start)
        return self._continue(self._observation, genes, self._settings.horizon)

    def _continue(self, observation: Any, genes: list[int], n: int) -> _Trajectory:
        """Play on from where the simulation stands: the genes, then as the guide draws, at most n steps."""
        value, discount = 0.0, 1.0
        actions: list[int] = []
        for k in range(n):
            mask = self._simulation.mask()
            if k < len(genes):
                action = self._guide.repair(int(genes[k]), observation, mask)
            else:
                action = int(self._rng.choice(self._simulation.n_actions, p=self._guide.prior(observation, mask)))
            outcome = self._simulation.step(action)
            actions.append(action)
            value += discount * outcome.reward
            discount *= outcome.discount
            observation = outcome.observation
            if outcome.ended:
                break
        return _Trajectory(value, actions, discount, observation)

    # --- the tree --------------------------------------------------------------------------------------------------------

    def _grow(self) -> Iterator[None]:
        if len(self._candidates):
            root, weight = self._root, self._settings.candidate_weight
            root.prior = tree.mixed_prior(root.prior, root.actions, self._candidates[:, 0], weight)
        untried = self._candidates[1:].tolist()
        while self._affords(1):
            is_trial = len(self._candidates) > 0 and len(self._returns) % _TRIALS == 0
            forced = self._candidates[0].tolist() if is_trial else untried.pop(0) if untried else []
            self._returns.append(self._simulate(forced))
            if is_trial:
                self._trials.append(self._returns[-1])
            yield

    def _simulate(self, forced: list[int]) -> float:
        """One simulation: select, expand, simulate, backpropagate. ``forced`` actions are selected while they are valid.

        :return: what it brought
        """
        self._simulations += 1
        path: list[tree.Step] = []
        node = self._root
        while True:
            place = self._select(node, forced)
            taken = (*node.route, int(node.actions[place]))
            follows = taken == tuple(forced[: len(taken)])
            edge, is_new, rest = self._expand(node, place, taken, goes_on=follows)
            path.append((node, place, edge))
            if edge.snapshot is None or (is_new and not follows):
                break
            if edge.node is None:
                self._simulation.restore(edge.snapshot)
                edge.node = self._node(edge.observation, edge.snapshot, taken)
            node = edge.node
        total = tree.backpropagate(path, self._scale)
        if self._settings.is_clairvoyant:
            self._note_best(total, [*taken, *rest])
        return total

    def _select(self, node: Node, forced: list[int]) -> int:
        if node.depth < len(forced):
            places = np.flatnonzero(node.actions == forced[node.depth])
            if len(places):
                return int(places[0])
        return tree.select_action(node, self._scale, self._settings.exploration)

    def _expand(self, node: Node, place: int, taken: tuple[int, ...], goes_on: bool) -> tuple[Edge, bool, list[int]]:
        """An outcome of an action, whether it is new, and what was played on from there to judge it.

        :param node: the moment
        :param place: place of the action
        :param taken: actions from the root, this one included
        :param goes_on: whether the search goes on from the outcome in any case
        """
        edges, settings = node.edges[place], self._settings
        n = 1 if settings.is_clairvoyant else settings.draws
        widening = 0.0 if settings.is_clairvoyant else settings.widening
        if not tree.wants_draw(node.visits[place], node.draws[place], len(edges), n, widening):
            self._known_steps += 1
            return tree.choose_outcome(edges.values(), self._rng), False, []
        seed = None if settings.is_clairvoyant else int(self._rng.integers(2**63))
        drawn = self._simulation.draw(node.snapshot, int(node.actions[place]), n, seed)
        self._simulations += n - 1
        met: list[tuple[Edge, int]] = []
        new: list[Edge] = []
        for count, outcome, snapshot in drawn:
            key = tree.outcome_key(outcome.observation, outcome.reward)
            if key not in edges:
                deep = outcome.ended or len(taken) >= settings.horizon
                edges[key] = Edge(outcome.observation, None if deep else snapshot, outcome.reward, outcome.discount)
                new.append(edges[key])
            met.append((edges[key], count))
        rest = self._judge(new, taken) if new and not (goes_on and n == 1 and new[0].snapshot is not None) else []
        for edge, count in met:
            node.add(place, edge, count)
        chosen = met[0][0] if len(met) == 1 else tree.choose_outcome((edge for edge, _ in met), self._rng)
        return chosen, len(new) > 0 or n > 1, rest

    def _node(self, observation: Any, snapshot: Any, route: tuple[int, ...]) -> Node:
        """The moment in which the simulation stands."""
        mask = self._simulation.mask()
        actions = np.flatnonzero(mask)
        prior = self._guide.prior(observation, mask)[actions]
        if len(self._candidates):
            here = (self._candidates[:, : len(route)] == route).all(axis=1)
            suggested = self._candidates[here, len(route)]
            prior = tree.mixed_prior(prior, actions, suggested, self._settings.candidate_weight)
        self._nodes, self._depth = self._nodes + 1, max(self._depth, len(route))
        return Node(actions, prior, snapshot, route)

    def _judge(self, edges: list[Edge], taken: tuple[int, ...]) -> list[int]:
        """Judge what follows new outcomes: by the critic, or by playing on from there; returns what was played.

        :param edges: the outcomes; the simulation stands in the last one
        :param taken: actions from the root
        """
        followed = [edge for edge in edges if edge.discount > 0.0]
        if self._guide.has_values or len(taken) >= self._settings.horizon:
            for edge, worth in zip(followed, self._guide.values([e.observation for e in followed]), strict=True):
                edge.judge(float(worth))
            return []
        actions: list[int] = []
        for edge in followed:
            if edge.snapshot is None:
                continue
            if len(edges) > 1:
                self._simulation.restore(edge.snapshot)
            played = self._continue(edge.observation, self._how_to_go_on(taken), self._settings.horizon - len(taken))
            edge.judge(played.value)
            actions = played.actions
        return actions

    def _how_to_go_on(self, taken: tuple[int, ...]) -> list[int]:
        """The rest of a candidate, or nothing: then the guide draws. So the tree mends single decisions of candidates."""
        if not len(self._candidates) or self._rng.random() >= self._settings.candidate_weight:
            return []
        shared = (self._candidates[:, : len(taken)] == taken).sum(axis=1)
        likely = np.flatnonzero(shared == shared.max())
        return self._candidates[int(self._rng.choice(likely)), len(taken) :].tolist()

    def _note_best(self, value: float, sequence: list[int]) -> None:
        if self._best is None or value > self._best[0]:
            self._best = (value, sequence)
