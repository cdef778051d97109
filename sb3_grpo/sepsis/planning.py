"""Plan the treatment of sepsis in every state: the decision problem as a fast simulator, and what a model knows as tables."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from hospital_gym.clinical.sepsis.exact import deterministic_policy
from hospital_gym.clinical.sepsis.mdp import SepsisMDP
from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv
from sb3_grpo.planning import Planner
from sb3_grpo.planning.guide import Guide
from sb3_grpo.planning.simulation import Mask
from sb3_grpo.sepsis.policies import policy_table

Floats = npt.NDArray[np.float64]
_WORD: Final = 2**64 - 1


def _next_uniform(key: int) -> tuple[int, float]:
    """One step of SplitMix64, as in :mod:`hospital_gym.clinical.sepsis.random_numbers`, on a single Python number."""
    key = (key + 0x9E3779B97F4A7C15) & _WORD
    word = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return key, ((word ^ (word >> 31)) >> 11) * 2.0**-53


class SepsisStateEnv(gym.Env[int, int]):
    """
    The decision problem of :class:`~hospital_gym.clinical.sepsis.treatment_env.SepsisTreatmentEnv` with its states as numbers
    and nothing else, for planning: a step takes a microsecond or two. Rewards and chances are the same.

    :param mdp: the decision problem
    """

    def __init__(self, mdp: SepsisMDP) -> None:
        self.mdp = mdp
        self.observation_space: spaces.Discrete = spaces.Discrete(mdp.n_states)  # type: ignore[assignment]
        self.action_space: spaces.Discrete = spaces.Discrete(mdp.n_actions)  # type: ignore[assignment]
        self.state = 0
        self._key = 0
        ends = list(zip(mdp.begins[:-1].tolist(), mdp.begins[1:].tolist(), strict=True))
        self._rows = mdp.rows.tolist()
        self._limits = [np.cumsum(mdp.probabilities[a:b]).tolist() for a, b in ends]
        self._shares = [mdp.probabilities[a:b] / mdp.probabilities[a:b].sum() for a, b in ends]
        self._reached = [mdp.next_states[a:b].tolist() for a, b in ends]
        self._rewards = [mdp.rewards[a:b].tolist() for a, b in ends]

    def __deepcopy__(self, memo: Any) -> "SepsisStateEnv":
        """Another course; the tables, in which nothing changes, are shared."""
        new = object.__new__(type(self))
        vars(new).update(vars(self))
        return new

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Begin in ``options={"state": n}``, else in a state drawn as often as patients came in it."""
        super().reset(seed=seed)
        self._key = int(self.np_random.integers(2**63))
        start = (options or {}).get("state")
        self.state = int(self.np_random.choice(self.mdp.n_states, p=self.mdp.first)) if start is None else int(start)
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Treat the patient for four hours."""
        row = self._rows[self.state][action]
        limits = self._limits[row]
        self._key, uniform = _next_uniform(self._key)
        place = min(bisect_right(limits, uniform * limits[-1]), len(limits) - 1)
        self.state = self._reached[row][place]
        return self.state, self._rewards[row][place], self.state >= self.mdp.n_transient, False, {}

    def action_masks(self) -> Mask:
        """Admissible actions now, shape (A,)."""
        return self.mdp.admissible[self.state]

    def snapshot(self) -> tuple[int, int]:
        """State and seed of what follows: the same snapshot goes on alike."""
        return self.state, self._key

    def restore(self, snapshot: tuple[int, int]) -> int:
        """See :class:`sb3_grpo.planning.Restorable`."""
        self.state, self._key = snapshot
        return self.state

    def redraw_future(self, seed: int) -> None:
        """See :class:`sb3_grpo.planning.Restorable`."""
        self._key = seed

    def draw_outcomes(self, action: int, n: int, seed: int) -> list[tuple[int, int, float, bool, tuple[int, int]]]:
        """See :class:`sb3_grpo.planning.Restorable`: the numbers of each outcome at once, from their multinomial law."""
        row = self._rows[self.state][action]
        counts = np.random.default_rng(seed).multinomial(n, self._shares[row])
        met = np.flatnonzero(counts)
        reached, rewards = self._reached[row], self._rewards[row]
        return [
            (k, state := reached[i], rewards[i], state >= self.mdp.n_transient, (state, seed))
            for i, k in zip(met.tolist(), counts[met].tolist(), strict=True)
        ]


class TableGuide(Guide):
    """
    What a model knows, as tables by state.

    :param priors: probability of each action, (S, A)
    :param worths: what each state is worth, (S,), 0 in terminal states
    :param trust: share of the prior that the policy gets, in [0, 1]; the rest is spread over the admissible actions
    """

    def __init__(self, priors: Floats, worths: Floats, trust: float = 0.75) -> None:
        super().__init__(None, priors.shape[1], trust=trust)
        self.priors, self.worths = priors, worths

    @classmethod
    def of_model(cls, model: BaseAlgorithm, env: SepsisTreatmentEnv, trust: float = 0.75) -> "TableGuide":
        """
        :param model: actor-critic model, trained with observations like those of ``env``
        :param env: treatment of sepsis with ``history=1``
        :param trust: see the class
        """
        priors = policy_table(model, env)
        worths = np.zeros(env.mdp.n_states)
        worths[: env.mdp.n_transient] = Guide(model, env.mdp.n_actions).batch_values(env.state_observations())
        return cls(priors, worths, trust)

    @property
    def acts(self) -> bool:
        """Whether it has an opinion on what to do."""
        return True

    @property
    def has_values(self) -> bool:
        """Whether it knows what moments are worth."""
        return True

    def values(self, observations: Sequence[int]) -> Floats:
        """See :class:`Guide`."""
        return self.worths[np.asarray(observations, dtype=np.int64)]

    def _probabilities(self, observation: int, mask: Mask) -> Floats:
        return self.priors[observation]


class PlannedPolicy(NamedTuple):
    """
    What a planner does in each state.

    :param table: probability of each action, (S, A), 1 for the planned one
    :param seconds: how long each decision took, (S',), of the states in which there is a choice
    """

    table: Floats
    seconds: Floats


def plan_everywhere(guide: Guide, env: SepsisStateEnv, seed: int, **settings: Any) -> PlannedPolicy:
    """
    Plan once in every state.

    :param guide: what is known beforehand
    :param env: the simulator
    :param seed: of the planner
    :param settings: further arguments of :class:`~sb3_grpo.planning.Planner`
    """
    mdp = env.mdp
    actions, seconds = np.zeros(mdp.n_states, dtype=np.int64), []
    for state in range(mdp.n_transient):
        observation, _ = env.reset(options={"state": state})
        plan = Planner(env, guide, seed=seed + 1000 * state, **settings).plan(observation)
        actions[state] = plan.action
        if mdp.admissible[state].sum() > 1:
            seconds.append(plan.statistics.seconds)
    return PlannedPolicy(deterministic_policy(mdp, actions), np.array(seconds))
