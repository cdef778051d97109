"""Small decision problems with known optima, for tests of planning."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Reset = tuple[np.ndarray, dict[str, Any]]
StepResult = tuple[np.ndarray, float, bool, bool, dict[str, Any]]


class TrapEnv(gym.Env[np.ndarray, int]):
    """
    A deceptive bit string, one bit a step, paid at the end: a block of k bits pays k if all are 1, else k - 1 less its ones
    (Deb and Goldberg, 1993). The optimum is all ones; every single change of all zeros makes it worse.

    :param blocks: Number of blocks
    :param size: Bits of a block, k
    :param interleaved: Whether bit i is of block i mod the number of blocks; else blocks follow one another
    """

    action_space: spaces.Discrete = spaces.Discrete(2)  # type: ignore[assignment]

    def __init__(self, blocks: int = 3, size: int = 4, interleaved: bool = False):
        self.blocks, self.size, self.interleaved = blocks, size, interleaved
        self.observation_space = spaces.Box(-1.0, 1.0, (blocks * size,), np.float32)
        self.bits: list[int] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        super().reset(seed=seed)
        self.bits = []
        return self._observe(), {}

    def step(self, action: int) -> StepResult:
        self.bits.append(int(action))
        done = len(self.bits) == self.blocks * self.size
        return self._observe(), self._pay() if done else 0.0, done, False, {}

    def _pay(self) -> float:
        if self.interleaved:
            ones = np.reshape(self.bits, (self.size, self.blocks)).sum(axis=0)
        else:
            ones = np.reshape(self.bits, (self.blocks, self.size)).sum(axis=1)
        return float(np.where(ones == self.size, self.size, self.size - 1 - ones).sum())

    def _observe(self) -> np.ndarray:
        padded = np.full(self.blocks * self.size, -1.0, dtype=np.float32)
        padded[: len(self.bits)] = self.bits
        return padded


class TableEnv(gym.Env[int, int]):
    """
    A Markov decision process from tables. Everything random comes from ``np_random``.

    :param transitions: Probabilities, (S, A, S)
    :param rewards: (S, A)
    :param length: Steps until the episode terminates
    :param start: State at the beginning
    """

    def __init__(self, transitions: np.ndarray, rewards: np.ndarray, length: int, start: int = 0):
        self.transitions, self.rewards, self.length, self.start = transitions, rewards, length, start
        n_states, n_actions = rewards.shape
        self.observation_space: spaces.Discrete = spaces.Discrete(n_states)  # type: ignore[assignment]
        self.action_space: spaces.Discrete = spaces.Discrete(n_actions)  # type: ignore[assignment]
        self.state, self.taken = start, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, self.taken = self.start, 0
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        reward = float(self.rewards[self.state, action])
        self.state = int(self.np_random.choice(len(self.rewards), p=self.transitions[self.state, action]))
        self.taken += 1
        return self.state, reward, self.taken == self.length, False, {}

    def action_values(self) -> np.ndarray:
        """Optimal value of each action in each state with all steps to go, by backward induction, (S, A)."""
        values = np.zeros(len(self.rewards))
        for _ in range(self.length):
            of_actions = self.rewards + self.transitions @ values
            values = of_actions.max(axis=1)
        return of_actions


def random_table(seed: int, n_states: int = 4, n_actions: int = 3, length: int = 3) -> TableEnv:
    """A process with random tables, two successors for each action."""
    rng = np.random.default_rng(seed)
    transitions = np.zeros((n_states, n_actions, n_states))
    for state in range(n_states):
        for action in range(n_actions):
            first, second = rng.choice(n_states, 2, replace=False)
            transitions[state, action, [first, second]] = (share := rng.uniform(0.2, 0.8)), 1.0 - share
    return TableEnv(transitions, rng.random((n_states, n_actions)), length)


class GuessEnv(TableEnv):
    """Guess which of two ways a coin will fall: no honest planner can expect more than one half; one who peeks gets 1."""

    def __init__(self) -> None:
        super().__init__(np.ones((1, 2, 1)), np.zeros((1, 2)), 1)

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 0, float(int(self.np_random.integers(2)) == action), True, False, {}


class GambleEnv(TrapEnv):
    """
    A deceptive bit string, then a choice: action 0 pays 1 for sure; action 1 shows a coin, and guessing it pays 1.6.

    All pays are multiplied by what the bit string paid. Finding the bit string is for a genetic algorithm; that the coin will
    be seen before it is guessed (1.6), and need not be guessed blindly (0.8), only a tree can foresee.
    """

    def __init__(self, blocks: int = 2, size: int = 4):
        super().__init__(blocks, size, interleaved=True)
        self.observation_space = spaces.Box(-1.0, 1.0, (blocks * size + 2,), np.float32)

    def step(self, action: int) -> StepResult:
        before, n_bits = len(self.bits), self.blocks * self.size
        self.bits.append(int(action))
        if before < n_bits:
            return self._observe(), 0.0, False, False, {}
        worth = self._pay()
        if before == n_bits:
            if action == 0:
                return self._observe(), worth, True, False, {}
            self.bits[-1] = int(self.np_random.integers(2))
            return self._observe(), 0.0, False, False, {}
        return self._observe(), 1.6 * worth * (action == self.bits[n_bits]), True, False, {}

    def _pay(self) -> float:
        bits, self.bits = self.bits, self.bits[: self.blocks * self.size]
        paid = super()._pay()
        self.bits = bits
        return paid

    def _observe(self) -> np.ndarray:
        seen = np.full(self.blocks * self.size + 2, -1.0, dtype=np.float32)
        seen[: len(self.bits)] = self.bits
        return seen

    def expected(self, policy: Any) -> float:
        """Mean of an episode under a policy of observations, over the coin: played once for each side of it."""
        return float(np.mean([self._play(policy, side) for side in (0, 1)]))

    def _play(self, policy: Any, side: int) -> float:
        observation, total, done = self.reset(seed=0)[0], 0.0, False
        while not done:
            observation, reward, done, _, _ = self.step(policy(observation))
            if len(self.bits) == self.blocks * self.size + 1 and not done:
                self.bits[-1] = side
                observation = self._observe()
            total += reward
        return total
