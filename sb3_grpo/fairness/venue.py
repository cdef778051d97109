"""Where policies are evaluated: environments that play numbered episodes, made of whatever the user gave."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from types import TracebackType
from typing import Any, Final

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecExtractDictObs,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from hospital_gym.scenarios import Scenario
from sb3_grpo.common.checks import checked_names
from sb3_grpo.common.evaluation import begin_numbered

EnvLike = str | gym.Env | VecEnv | Callable[[], gym.Env]
"""The id of a registered environment, an environment, vectorised environments, or a function that makes an environment."""

View = Callable[[Any], Any]
"""What wrappers around vectorised environments make of observations (n, ...)."""

_WITHOUT_EFFECT: Final = (VecMonitor, VecCheckNan)


@dataclass
class Venue:
    """Environments side by side, each of which plays one numbered episode at a time.

    :param envs: the environments
    :param group_names: names of the groups
    :param name: id of the environment, or what kind it is
    :param view: what the wrappers around vectorised environments make of observations; None without such wrappers
    :param normalises: whether ``VecNormalize`` is among them
    :param is_own: whether the environments are closed at the end
    """

    envs: list[Any]
    group_names: tuple[str, ...]
    name: str
    view: View | None
    normalises: bool
    is_own: bool

    def __enter__(self) -> "Venue":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.is_own:
            for env in self.envs:
                env.close()

    @cached_property
    def scenario(self) -> Scenario | None:
        """The hospital's numbers; None where the environment is no hospital."""
        scenario = attribute(self.envs[0], "scenario")
        return scenario if isinstance(scenario, Scenario) else None

    @cached_property
    def is_numbered(self) -> bool:
        """Whether the environment numbers its own episodes: hospitals do, others say so by ``numbers_episodes = True``."""
        return self.scenario is not None or attribute(self.envs[0], "numbers_episodes") is True

    @cached_property
    def records_patients(self) -> bool:
        """Whether records may tell of these groups: not where a wrapper has put others in the place of the environment's."""
        own = attribute(getattr(self.envs[0], "unwrapped", self.envs[0]), "group_names")
        return own is None or tuple(own) == self.group_names

    def begin(self, slot: int, seed: int, number: int) -> Any:
        """Reset an environment to a numbered episode: by number where it counts its episodes, else by a seed of its own.

        :param slot: which environment
        :param seed: seed of the episodes
        :param number: number of the episode
        :return: the first observation
        """
        env = self.envs[slot]
        if self.is_numbered:
            return begin_numbered(env, seed, number)
        return env.reset(seed=episode_seed(seed, number))[0]


def episode_seed(seed: int, number: int) -> int:
    """Seed of one episode of an environment that does not number its episodes; below 2^31, which all accept.

    :param seed: seed of the episodes
    :param number: number of the episode
    """
    return int(np.random.SeedSequence(entropy=seed, spawn_key=(number,)).generate_state(1, np.uint32)[0]) >> 1


def open_venue(env: EnvLike, n_envs: int) -> Venue:
    """Environments for an evaluation.

    :param env: what to play. Of a function or an id, ``n_envs`` environments are made, and closed at the end. Those given are
        used as they are and left in the middle of an episode; rewards normalised by ``VecNormalize`` are not looked at
    :param n_envs: number of environments that are made
    :raises ValueError: if it is nothing to play in, nobody names its groups, or a wrapper cannot be seen through
    """
    view, normalises, is_own = None, False, False
    if isinstance(env, VecEnv):
        envs, view, normalises = _of_vec_env(env)
    elif isinstance(env, gym.Env):
        envs = [env]
    elif isinstance(env, str):
        envs, is_own = _make(env, n_envs), True
    elif callable(env):
        envs, is_own = [env() for _ in range(n_envs)], True
    else:
        raise ValueError(
            f"env: got {env!r}, expected the id of a registered environment, an environment, a VecEnv, or a function that "
            "makes an environment"
        )
    if is_own and not isinstance(envs[0], gym.Env):
        raise ValueError(f"env: got a function that makes {envs[0]!r}, expected a Gymnasium environment")
    try:
        names = attribute(envs[0], "group_names")
        if names is None:
            raise ValueError(
                f"env: nobody names the groups of {_name(envs[0])}; give it an attribute group_names, or wrap it in "
                "GroupAssignment(env, fn, group_names=(...))"
            )
        return Venue(envs, checked_names(names), _name(envs[0]), view, normalises, is_own)
    except ValueError:
        if is_own:
            for made in envs:
                made.close()
        raise


def _make(name: str, n_envs: int) -> list[Any]:
    try:
        return [gym.make(name, disable_env_checker=True) for _ in range(n_envs)]
    except gym.error.Error as error:
        raise ValueError(f"env: got {name!r}, expected the id of a registered environment: {error}") from None


def _of_vec_env(env: VecEnv) -> tuple[list[Any], View | None, bool]:
    """The single environments, and what the wrappers around them do to observations."""
    views: list[View] = []
    normalises = False
    while isinstance(env, VecEnvWrapper):
        view = observation_view(env)
        if view is not None:
            views.append(view)
        normalises |= isinstance(env, VecNormalize)
        env = env.venv
    envs = env.envs if isinstance(env, DummyVecEnv) else [_Remote(env, index) for index in range(env.num_envs)]
    if not views:
        return list(envs), None, normalises
    innermost_first = views[::-1]
    return list(envs), lambda observation: reduce(lambda seen, view: view(seen), innermost_first, observation), normalises


def observation_view(wrapper: VecEnvWrapper) -> View | None:
    """What a wrapper around vectorised environments makes of observations; statistics stay as they are.

    :param wrapper: the wrapper
    :return: the function, None if observations stay the same
    :raises ValueError: if the wrapper remembers observations or is not known
    """
    if isinstance(wrapper, VecNormalize):
        return wrapper.normalize_obs if wrapper.norm_obs else None
    if isinstance(wrapper, VecTransposeImage):
        return wrapper.transpose_observations
    if isinstance(wrapper, VecExtractDictObs):
        return lambda observation: observation[wrapper.key]
    if isinstance(wrapper, _WITHOUT_EFFECT):
        return None
    raise ValueError(
        f"env: got a {type(wrapper).__name__} around the environments, expected VecNormalize, VecTransposeImage, "
        "VecExtractDictObs, VecMonitor or VecCheckNan: put what else is needed into wrappers of the single environments "
        "(for VecFrameStack gymnasium.wrappers.FrameStackObservation)"
    )


class _Remote:
    """One of several environments in other processes, played without the automatic reset of ``VecEnv``.

    :param vec_env: the environments
    :param index: which of them
    """

    def __init__(self, vec_env: VecEnv, index: int) -> None:
        self.vec_env, self.index = vec_env, index
        self.observation_space, self.action_space = vec_env.observation_space, vec_env.action_space

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self.vec_env.env_method(method, *args, indices=[self.index], **kwargs)[0]

    def reset(self, **kwargs: Any) -> Any:
        return self._call("reset", **kwargs)

    def step(self, action: Any) -> Any:
        return self._call("step", action)

    def has_wrapper_attr(self, name: str) -> bool:
        return self.vec_env.has_attr(name)

    def get_wrapper_attr(self, name: str) -> Any:
        if name == "action_masks":
            return lambda: self._call(name)
        return self.vec_env.get_attr(name, indices=[self.index])[0]


def attribute(env: Any, name: str) -> Any:
    """An attribute of an environment, looked up through wrappers; None if it has none."""
    return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None


def _name(env: Any) -> str:
    if isinstance(env, _Remote):
        return type(env.vec_env).__name__
    spec = env.unwrapped.spec
    return type(env.unwrapped).__name__ if spec is None else str(spec.id)
