"""Play numbered episodes in several environments side by side, each episode exactly once."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt


class Policy(Protocol):
    """Anything with Stable-Baselines3's ``predict``: a model, or one of :data:`hospital_gym.heuristics.HEURISTICS`.

    If ``predict`` has a parameter named ``action_masks``, as MaskablePPO's, it is given the masks of valid actions, (n, ...),
    wherever the environments have a method ``action_masks()``.
    """

    def predict(
        self,
        observation: npt.NDArray[Any],
        state: tuple[npt.NDArray[Any], ...] | None = None,
        episode_start: npt.NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...] | None]:
        """Actions (n,) and next state for observations (n, ...)."""


class Step(Protocol):
    """Takes note of a step."""

    def __call__(self, number: int, reward: float, info: dict[str, Any], ended: bool) -> object:
        """
        :param number: number of the episode
        :param reward: the step's reward
        :param info: the step's info
        :param ended: whether the episode ended with it
        """


def play(
    policy: Policy,
    envs: Sequence[gym.Env],
    numbers: Sequence[int],
    begin: Callable[[int, int], Any],
    step: Step,
    deterministic: bool = True,
) -> None:
    """Play every numbered episode once. Environments only share the work: each takes the next number not yet begun.

    :param policy: a model or rule; its ``predict`` gets observations (n, ...), a dictionary of them for Dict spaces, the state
        that it returned last with ``episode_start`` saying which episodes are new, and masks if it takes them
    :param envs: the environments, at most as many as episodes
    :param numbers: numbers of the episodes
    :param begin: ``begin(slot, number)`` resets environment ``slot`` to that episode and returns its first observation
    :param step: called after each step; what it raises ends the play
    :param deterministic: handed to the policy
    """
    waiting = iter(numbers)
    playing: list[int | None] = [next(waiting) for _ in envs]
    observations = [begin(slot, number) for slot, number in enumerate(playing) if number is not None]
    starts, state = np.ones(len(envs), dtype=bool), None
    masks = _Masks(policy, envs)
    while any(number is not None for number in playing):
        # An environment that has no episode left keeps its place, so that the policy's state keeps its shape.
        actions, state = policy.predict(
            stacked(observations), state=state, episode_start=starts, deterministic=deterministic, **masks.arguments(playing)
        )
        for slot, env in enumerate(envs):
            number = playing[slot]
            if number is None:
                continue
            observation, reward, terminated, truncated, info = env.step(actions[slot])
            starts[slot] = terminated or truncated
            step(number, float(reward), info, bool(starts[slot]))
            if starts[slot]:
                playing[slot] = following = next(waiting, None)
                observation = observation if following is None else begin(slot, following)
            observations[slot] = observation


def stacked(observations: Sequence[Any]) -> Any:
    """Observations of n environments as one array (n, ...), or a dictionary of them for Dict spaces."""
    first = observations[0]
    if isinstance(first, dict):
        return {key: np.stack([observation[key] for observation in observations]) for key in first}
    return np.stack(observations)


class _Masks:
    """Asks the environments for their masks of valid actions, if the policy wants them.

    :param policy: the policy
    :param envs: the environments, in which an episode has begun
    """

    def __init__(self, policy: Policy, envs: Sequence[gym.Env]) -> None:
        wanted = "action_masks" in inspect.signature(policy.predict).parameters
        self._ask = [env.get_wrapper_attr("action_masks") for env in envs if wanted and env.has_wrapper_attr("action_masks")]
        self._last = [np.asarray(ask()) for ask in self._ask]

    def arguments(self, playing: Sequence[int | None]) -> dict[str, npt.NDArray[Any]]:
        """Keyword arguments of ``predict``. An environment that has no episode left is not asked: any action does."""
        if not self._ask:
            return {}
        for slot, number in enumerate(playing):
            self._last[slot] = np.ones_like(self._last[slot]) if number is None else np.asarray(self._ask[slot]())
        return {"action_masks": np.stack(self._last)}
