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
