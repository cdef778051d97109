"""Plan the next decision by trying sequences out in a copy of the environment."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from sb3_grpo.common.checks import check_whole, is_positive
from sb3_grpo.planning.guide import Guide
from sb3_grpo.planning.plan import Latency, Plan, latency_of
from sb3_grpo.planning.search import Search
from sb3_grpo.planning.settings import Settings
from sb3_grpo.planning.simulation import Simulation


class Planner:
    """Genetic algorithm and Monte Carlo tree search over what to do from now on in an environment.

    A genetic algorithm evolves sequences of actions; the best candidates then steer a tree search: they are tried first, get a
    share of the prior, and what follows a new node may be the rest of one. A learned policy is the prior, its critic the value
    of leaves. The environment itself is never touched: everything happens in a copy.

    **No peeking.** A snapshot holds all that will happen. So after every restore the future is drawn anew: by the
    environment's ``redraw_future(seed)`` (hospitals), else by a new ``np_random``. An environment that keeps randomness
    elsewhere cannot be planned honestly, and it cannot be noticed from outside. ``futures="actual"`` looks at what will
    really happen: right where nothing is random, otherwise clairvoyant, and a plan says so.

    :param env: environment with Discrete actions, in which an episode has begun; ``action_masks()`` is respected
    :param model: actor-critic model of SB3 or sb3-contrib without memory, anything with ``predict``, a
        :class:`~sb3_grpo.planning.guide.Guide`, or None
    :param simulations: most trajectories tried for a decision; None: no limit
    :param steps: most steps of these trajectories together; None: no limit
    :param seconds: most time for a decision; None: no limit. A search by time cannot be repeated exactly
    :param horizon: steps looked ahead; the critic values what follows, without one it counts nothing
    :param futures: how many futures the genetic algorithm values a sequence in, or ``"actual"``. The tree draws one for
        each step it tries
    :param genetic_share: share of the budget for the genetic algorithm; 0: tree only, 1: genetic algorithm only
    :param population: individuals
    :param elites: how many of the best stay unchanged
    :param tournament: individuals in a tournament for a parent
    :param crossover_rate: probability that a child has two parents
    :param mutation_rate: probability that a gene changes; None: one gene of each child on average
    :param patience: generations without progress after which the tree gets the rest of the budget; None: never
    :param candidates: how many of the best sequences the tree begins with
    :param candidate_weight: share of the prior for what they do, and how often one is played on from a new node
    :param exploration: c of PUCT
    :param widening: an action tried n times has up to (n + 1)^widening outcomes in the tree
    :param draws: how often the tree tries an action at once. More than one pays off where an environment has ``draw_outcomes``
    :param caution: by how many standard errors another action must be better in the tree than the one that the policy or rule
        finds most likely; 0: it need only be better
    :param trust: share of the prior that a policy or rule gets; the rest is spread over the valid actions
    :param gamma: discount of a step; None: the model's, or 1
    :param discount_time: time after which the future counts 1/e, in the unit of ``info["elapsed"]``; None: the environment's
        attribute if it has one; False: ``gamma`` counts
    :param group_weights: weight of each group's rewards and value, for example ``model.group_weights()``; None: all alike
    :param seed: seed of everything random in the search, >= 0
    :raises ValueError: naming the argument, its value and what is accepted
    """

    def __init__(
        self,
        env: gym.Env,
        model: Any = None,
        *,
        simulations: int | None = 256,
        steps: int | None = None,
        seconds: float | None = None,
        horizon: int = 16,
        futures: int | Literal["actual"] = 4,
        genetic_share: float = 0.5,
        population: int = 16,
        elites: int = 2,
        tournament: int = 2,
        crossover_rate: float = 0.9,
        mutation_rate: float | None = None,
        patience: int | None = 10,
        candidates: int = 4,
        candidate_weight: float = 0.5,
        exploration: float = 1.25,
        widening: float = 0.5,
        draws: int = 1,
        caution: float = 0.0,
        trust: float = 0.75,
        gamma: float | None = None,
        discount_time: float | bool | None = None,
        group_weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        check_whole("seed", seed, 0)
        gamma = float(getattr(model, "gamma", 1.0)) if gamma is None else gamma
        if not (is_positive(gamma) and gamma <= 1.0):
            raise ValueError(f"gamma: got {gamma!r}, expected a number above 0 and up to 1")
        if discount_time is None and isinstance(env, gym.Env) and env.has_wrapper_attr("discount_time"):
            discount_time = env.get_wrapper_attr("discount_time")
        discount_time = None if discount_time is False else discount_time
        if discount_time is not None and not is_positive(discount_time):
            raise ValueError(f"discount_time: got {discount_time!r}, expected a positive number, None or False")
        weights = None if group_weights is None else np.asarray(group_weights, dtype=np.float64)
        self.settings = Settings(
            simulations=simulations,
            steps=steps,
            seconds=seconds,
            horizon=horizon,
            futures=futures,
            genetic_share=genetic_share,
            population=population,
            elites=elites,
            tournament=tournament,
            crossover_rate=crossover_rate,
            mutation_rate=mutation_rate,
            patience=patience,
            candidates=candidates,
            candidate_weight=candidate_weight,
            exploration=exploration,
            widening=widening,
            draws=draws,
            caution=caution,
        )
        self.env, self.seed = env, seed
        self.simulation = Simulation(env, gamma, discount_time, weights)
        self.guide = model if isinstance(model, Guide) else Guide(model, self.simulation.n_actions, weights, trust)
        self.n_plans = 0
        self._inherited = np.empty((0, horizon), dtype=np.int64)

    def improve(self, observation: Any = None) -> Iterator[Plan]:
        """Better and better plans for the present moment, the first at once; stop whenever you like.

        :param observation: what is observed now; None with no model
        """
        search = self._search(observation)
        yield search.plan()
        for _ in search.run():
            yield search.plan()

    def plan(self, observation: Any = None) -> Plan:
        """The plan when the budget is spent, or when Ctrl-C is pressed: then the best so far.

        :param observation: what is observed now; None with no model
        """
        search = self._search(observation)
        try:
            for _ in search.run():
                pass
        except KeyboardInterrupt:
            return search.plan(interrupted=True)
        self._inherited = search.bequeath()
        return search.plan()

    def _search(self, observation: Any) -> Search:
        if observation is None and self.guide.acts:
            raise ValueError("observation: got None, expected what the environment showed last: the model needs it")
        stream = np.random.SeedSequence(self.seed, spawn_key=(self.n_plans,))
        self.n_plans += 1
        rng = np.random.default_rng(stream)
        return Search(self.simulation, self.guide, self.settings, observation, rng, self._inherited)


class PlanningPolicy:
    """A planner with SB3's ``predict``, for one environment, the one that the planner was made for.

    :param planner: the planner
    """

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.seconds: list[float] = []

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, None]:
        """The planned action for one environment.

        :param observation: of one environment, shape (1, ...) or (...)
        :return: action, shape (1,) or (); no state
        :raises ValueError: if there is more than one observation
        :raises KeyboardInterrupt: if Ctrl-C ended the search: the loop around must end too
        """
        shape = self.planner.env.observation_space.shape
        first = next(iter(observation.values())) if isinstance(observation, dict) else np.asarray(observation)
        inner = next(iter(self.planner.env.observation_space.values())).shape if isinstance(observation, dict) else shape  # type: ignore[attr-defined]
        is_batch = first.ndim > len(inner or ())
        if is_batch and len(first) != 1:
            raise ValueError(
                f"observation: got {len(first)}, expected one: a planner acts in the one environment it was made for"
            )
        one = observation
        if is_batch:
            one = {key: value[0] for key, value in observation.items()} if isinstance(observation, dict) else first[0]
        plan = self.planner.plan(one)
        if plan.statistics.interrupted:
            raise KeyboardInterrupt
        self.seconds.append(plan.statistics.seconds)
        return np.full((1,) if is_batch else (), plan.action, dtype=np.int64), None

    def latency(self) -> Latency:
        """How long decisions took so far, those with one valid action included."""
        return latency_of(self.seconds)
