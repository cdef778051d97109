"""Small decision problems whose optima are known, on which planning is tested and measured."""

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Floats = npt.NDArray[np.float64]
Reset = tuple[np.ndarray, dict[str, Any]]
Protocol = tuple[int, tuple[int, ...], int]
StepResult = tuple[np.ndarray, float, bool, bool, dict[str, Any]]


class TrapEnv(gym.Env[np.ndarray, int]):
    """
    A deceptive bit string, one bit a step, paid at the end: a block of k bits pays k if all are 1, else k - 1 less its ones
    (Deb and Goldberg, 1993). The optimum is all ones; every single change of all zeros makes it worse.

    :param blocks: Number of blocks
    :param size: Bits of a block, k
    """

    action_space: spaces.Discrete = spaces.Discrete(2)  # type: ignore[assignment]

    def __init__(self, blocks: int = 3, size: int = 4):
        self.blocks, self.size = blocks, size
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

    def __init__(self, transitions: Floats, rewards: Floats, length: int, start: int = 0):
        self.transitions, self.rewards, self.length, self.start = transitions, rewards, length, start
        n_states, n_actions = rewards.shape
        self.observation_space: spaces.Discrete = spaces.Discrete(n_states)  # type: ignore[assignment]
        self.action_space: spaces.Discrete = spaces.Discrete(n_actions)  # type: ignore[assignment]
        self.state, self.taken = start, 0
        self._limits = transitions.cumsum(axis=2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, self.taken = self.start, 0
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        reward = float(self.rewards[self.state, action])
        limits = self._limits[self.state, action]
        self.state = int(limits.searchsorted(self.np_random.random() * limits[-1], side="right"))
        self.taken += 1
        return self.state, reward, self.taken == self.length, False, {}

    def snapshot(self) -> tuple[int, int]:
        return self.state, self.taken

    def restore(self, snapshot: tuple[int, int]) -> int:
        self.state, self.taken = snapshot
        return self.state

    def action_values(self) -> Floats:
        """Optimal value of each action after each number of steps in each state, by backward induction, (length, S, A)."""
        out = np.zeros((self.length, *self.rewards.shape))
        values = np.zeros(len(self.rewards))
        for taken in reversed(range(self.length)):
            out[taken] = self.rewards + self.transitions @ values
            values = out[taken].max(axis=1)
        return out


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


class ProtocolEnv(gym.Env[np.ndarray, int]):
    """
    First a protocol of many steps, then a patient who responds to treatment as chance will have it.

    **Protocol.** A deceptive bit string as of :class:`TrapEnv`, but interleaved (bit i is of block i mod the number of
    blocks) and paid at its end: what looks better step by step is wrong, and what is right is put together from parts far from
    each other. **Choice.** Action 0 is the standard therapy: it pays ``safe`` x 2 x ``responses`` and ends the episode.
    Action 1 is a therapy to be adapted. **Response.** ``responses`` times a fair coin shows one of two states; the action that
    fits it pays 2, the other nothing. A sequence fixed in advance earns half of that, less than the standard therapy; who
    reacts earns all.

    The optimum is ``blocks`` x ``size`` + 2 ``responses``.

    :param blocks: Blocks of the protocol
    :param size: Steps of a block
    :param responses: How often the response is seen
    :param safe: What the standard therapy pays, as a share of the best that the other can bring
    """

    action_space: spaces.Discrete = spaces.Discrete(2)  # type: ignore[assignment]

    def __init__(self, blocks: int = 4, size: int = 3, responses: int = 3, safe: float = 0.8):
        self.blocks, self.size, self.responses, self.safe = blocks, size, responses, safe
        self.bits = blocks * size
        self.length = self.bits + 1 + responses
        self.observation_space = spaces.Box(0.0, float(self.length), (blocks + 2,), np.float32)
        self.state = self._start = (0, (0,) * blocks, 0)
        self.action_values = lru_cache(maxsize=None)(self._action_values)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        super().reset(seed=seed)
        self.state = self._start
        return self._observe(), {}

    def step(self, action: int) -> StepResult:
        reward, after = self.outcomes(self.state, int(action))
        self.state = after[int(self.np_random.integers(len(after)))] if len(after) > 1 else after[0]
        return self._observe(), reward, self.state[0] == self.length, False, {}

    def snapshot(self) -> Protocol:
        return self.state

    def restore(self, snapshot: Protocol) -> np.ndarray:
        self.state = snapshot
        return self._observe()

    def outcomes(self, state: Protocol, action: int) -> tuple[float, list[Protocol]]:
        """Reward, and the states that follow, all equally likely. A state is steps taken, ones by block, and what is shown."""
        taken, ones, shown = state
        if taken < self.bits:
            block = taken % self.blocks
            total = tuple(n + action * (b == block) for b, n in enumerate(ones))
            pays = sum(self.size if n == self.size else self.size - 1 - n for n in total) if taken + 1 == self.bits else 0
            return float(pays), [(taken + 1, total, 0)]
        if taken == self.bits and action == 0:
            return 2.0 * self.safe * self.responses, [(self.length, ones, 0)]
        reward = 2.0 * (taken > self.bits and action == shown)
        return reward, [(taken + 1, ones, side) for side in ((0, 1) if taken + 1 < self.length else (0,))]

    def _action_values(self, state: Protocol) -> tuple[float, float]:
        """Optimal value of both actions in a state, by backward induction."""
        if state[0] == self.length:
            return 0.0, 0.0
        both = (self.outcomes(state, action) for action in (0, 1))
        first, second = (reward + sum(max(self.action_values(s)) for s in after) / len(after) for reward, after in both)
        return first, second

    def _observe(self) -> np.ndarray:
        taken, ones, shown = self.state
        return np.array([taken, *ones, shown], dtype=np.float32)
