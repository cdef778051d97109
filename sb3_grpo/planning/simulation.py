"""A private copy of an environment that can be put back to any moment, and go on with another future from there."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

Mask = npt.NDArray[np.bool_]


class Restorable(Protocol):
    """What an environment may offer to be planned on quickly and honestly; hospitals do."""

    def snapshot(self) -> Any:
        """The full state, which stays as it is whatever happens afterwards."""

    def restore(self, snapshot: Any) -> Any:
        """Go back to a snapshot, possibly of another environment of the same kind."""

    def redraw_future(self, seed: int) -> None:
        """Optional. Draw anew whatever was drawn beforehand and has not happened yet, given what has."""

    def draw_outcomes(self, action: int, n: int, seed: int) -> list[tuple[int, Any, float, bool, Any]]:
        """Optional. Take an action n times from here: how often each outcome was met, then its observation, reward, whether
        the episode terminated, and a snapshot of it."""


class Outcome(NamedTuple):
    """What one simulated step brought.

    :param observation: as the environment shows it
    :param reward: the reward, or the weighted sum of the groups' rewards
    :param discount: how much what follows counts, in [0, 1]; 0 after termination
    :param ended: the episode is over
    """

    observation: Any
    reward: float
    discount: float
    ended: bool


class Simulation:
    """A copy of an environment with its wrappers, in which a planner tries things out; the original is only read.

    The innermost environment is saved by its ``snapshot()`` and ``restore()`` if it has both, else by a deep copy of its
    attributes, which is meant for small environments. Wrappers are saved by a deep copy of theirs.

    :param env: the environment that is planned for, with Discrete actions
    :param gamma: discount of one step, in (0, 1]
    :param discount_time: time after which the future counts 1/e, in the unit of ``info["elapsed"]``; None: ``gamma`` counts
    :param group_weights: weight of each group's rewards, shape (G,); None: the reward as it is
    :raises ValueError: if the actions are not Discrete from 0 on, or the environment cannot be copied
    """

    def __init__(
        self,
        env: gym.Env,
        gamma: float = 1.0,
        discount_time: float | None = None,
        group_weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        if not isinstance(env, gym.Env):
            raise ValueError(f"env: got {env!r}, expected one Gymnasium environment")
        if not (isinstance(env.action_space, spaces.Discrete) and env.action_space.start == 0):
            raise ValueError(f"env: got actions {env.action_space}, expected Discrete(n) from 0 on for planning")
        self.env = env
        self.n_actions = int(env.action_space.n)
        self.gamma, self.discount_time, self.group_weights = gamma, discount_time, group_weights
        try:
            self._copy = copy.deepcopy(env)
        except Exception as error:
            raise ValueError(
                f"env: {env.unwrapped!r} cannot be copied ({error}); give it snapshot() and restore(), and leave out wrappers "
                "that hold files or windows"
            ) from error
        base = env.unwrapped
        has_masks = env.has_wrapper_attr("action_masks")
        self._masks: Callable[[], Any] | None = self._copy.get_wrapper_attr("action_masks") if has_masks else None
        self.redraws = hasattr(base, "redraw_future")
        is_plain = base is env and discount_time is None and group_weights is None
        self._draws: Any = getattr(self._copy, "draw_outcomes", None) if is_plain else None
        self.n_steps = 0

    def now(self) -> Any:
        """A snapshot of the original environment as it is."""
        return _save(self.env)

    def snapshot(self) -> Any:
        """A snapshot of the copy."""
        return _save(self._copy)

    def restore(self, snapshot: Any) -> None:
        """Put the copy to a snapshot.

        :param snapshot: what :meth:`now` or :meth:`snapshot` returned
        """
        _load(self._copy, snapshot)

    def redraw(self, seed: int) -> None:
        """Give the copy another future: by its ``redraw_future(seed)``, else by a new ``np_random`` from which it draws.

        :param seed: seed of that future, >= 0
        """
        base: Any = self._copy.unwrapped
        if self.redraws:
            base.redraw_future(seed)
        else:
            base.np_random = np.random.default_rng(seed)

    def step(self, action: int) -> Outcome:
        """One step of the copy.

        :param action: a number of an action
        """
        observation, reward, terminated, truncated, info = self._copy.step(action)
        self.n_steps += 1
        if self.group_weights is not None:
            reward = float(self.group_weights @ info["group_rewards"])
        discount = self.gamma
        if self.discount_time is not None:
            discount = float(np.exp(-info["elapsed"] / self.discount_time))
        return Outcome(observation, float(reward), 0.0 if terminated else discount, bool(terminated or truncated))

    def draw(self, snapshot: Any, action: int, n: int, seed: int | None) -> list[tuple[int, Outcome, Any]]:
        """Take an action n times from a moment, each time with another future.

        :param snapshot: the moment
        :param action: a number of an action
        :param n: how often
        :param seed: seed of the futures; None for the one future in the snapshot
        :return: how often each outcome was met, the outcome, and a snapshot of it; the copy stands in the last one
        """
        if self._draws is not None and seed is not None:
            _load(self._copy, snapshot)
            self.n_steps += n
            return [
                (count, Outcome(observation, reward, 0.0 if ended else self.gamma, ended), [(state, None)])
                for count, observation, reward, ended, state in self._draws(action, n, seed)
            ]
        drawn: list[tuple[int, Outcome, Any]] = []
        for k in range(n):
            self.restore(snapshot)
            if seed is not None:
                self.redraw((seed + k) % 2**63)
            outcome = self.step(action)
            drawn.append((1, outcome, None if outcome.ended else self.snapshot()))
        return drawn

    def mask(self) -> Mask:
        """Valid actions of the copy, shape (n,); all, where the environment has no ``action_masks()`` or none is valid."""
        if self._masks is None:
            return np.ones(self.n_actions, dtype=np.bool_)
        mask = np.asarray(self._masks(), dtype=np.bool_)
        return mask if mask.any() else np.ones_like(mask)


def _layers(env: gym.Env) -> list[Any]:
    """The wrappers from outside in, then the environment."""
    layers: list[Any] = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _attributes(layer: Any, layers: list[Any]) -> dict[str, Any]:
    """A deep copy of what a layer remembers. Spaces and the layers themselves are no memory: they stay the same objects."""
    fixed = (spaces.Space, EnvSpec)
    own = {name: value for name, value in vars(layer).items() if name != "env" and not isinstance(value, fixed)}
    return copy.deepcopy(own, {id(other): other for other in layers})


def _is_native(base: Any) -> bool:
    return hasattr(base, "snapshot") and hasattr(base, "restore")


def _generator(base: Any) -> Any:
    """The state of what an environment draws from as it goes; it draws nothing so if it has a future to redraw."""
    generator = None if hasattr(base, "redraw_future") else getattr(base, "_np_random", None)
    return None if generator is None else generator.bit_generator.state


def _save(env: gym.Env) -> list[Any]:
    layers = _layers(env)
    *wrappers, base = layers
    inner = (base.snapshot(), _generator(base)) if _is_native(base) else _attributes(base, layers)
    return [*(_attributes(wrapper, layers) for wrapper in wrappers), inner]


def _load(env: gym.Env, snapshot: list[Any]) -> None:
    layers = _layers(env)
    memo = {id(layer): layer for layer in layers}
    *wrappers, base = layers
    *outer, inner = snapshot
    for wrapper, attributes in zip(wrappers, outer, strict=True):
        vars(wrapper).update(copy.deepcopy(attributes, dict(memo)))
    if isinstance(inner, tuple):
        state, generator = inner
        base.restore(state)
        if generator is not None:
            base.np_random.bit_generator.state = generator
    else:
        vars(base).update(copy.deepcopy(inner, dict(memo)))
