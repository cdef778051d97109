"""SB3's ``VecEnv`` over a Gymnasium ``VectorEnv`` in which every step is a whole episode: a decision about a case."""

import copy
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_grpo.common.info_columns import InfoColumns, info_row
from sb3_grpo.common.vec_env import GymnasiumVecEnv


class DecisionVecEnv(GymnasiumVecEnv):
    """
    As :class:`~sb3_grpo.common.vec_env.GymnasiumVecEnv`, for one-step episodes and without Python work for each environment:
    infos stay arrays until somebody looks at one. There is no ``terminal_observation``, for nothing follows a decision.

    :param vector_env: The environments
    :raises ValueError: If it does not begin the next episode in the step in which one ends; in use if an episode goes on
    """

    def __init__(self, vector_env: VectorEnv) -> None:
        super().__init__(vector_env)
        if not self._resets_itself:
            raise ValueError(
                f"vector_env: got {vector_env} with metadata['autoreset_mode'] = {vector_env.metadata['autoreset_mode']}, "
                f"expected {AutoresetMode.SAME_STEP}: the next case must be there when one has been decided"
            )

    def step_wait(self) -> VecEnvStepReturn:
        """
        See the parent.

        :raises ValueError: If an episode goes on after one step, or is cut off
        """
        observations, rewards, terminated, _, infos = self.vector_env.step(self._actions)
        if not self._copies:
            observations = copy.deepcopy(observations)
        ended = np.asarray(terminated, dtype=bool)
        if not ended.all():
            env = int(np.argmin(ended))
            raise ValueError(
                f"The episode of environment {env} goes on after one step (or was truncated), but every step must be a whole "
                "episode, which ends with terminated=True"
            )
        # By Gymnasium's convention infos tell of the next episode, and these items of the one that ended
        of_ended = infos.get("final_info", infos)
        began = {key: value for key, value in infos.items() if key.lstrip("_") not in ("final_info", "final_obs")}
        self.reset_infos = InfoColumns(began, ~ended, {})
        rewards = np.asarray(rewards, dtype=np.float32)
        return observations, rewards, ended, DecisionInfos(of_ended, rewards, time.time() - self._began)


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class DecisionInfos(InfoColumns):
    """
    Infos of environments whose episodes have all ended after one step. Each is a dict that is filled when somebody looks for
    something that is in it.

    :param columns: Infos of a Gymnasium ``VectorEnv``, see :func:`~sb3_grpo.common.info_columns.info_row`
    :param rewards: Rewards, (N,)
    :param seconds: Seconds since the environments began
    """

    def __init__(self, columns: Mapping[str, Any], rewards: np.ndarray, seconds: float) -> None:
        super().__init__(columns, np.zeros(len(rewards), dtype=bool), {})
        self._rewards, self._seconds = rewards, seconds
        self._finished = range(len(rewards))
        #: While True all infos are one empty dict: SB3 looks at each of them for a time limit that ended its episode
        self.silent = False
        self._keys = {*columns, "episode", "TimeLimit.truncated"}

    def newest_statistics(self, number: int) -> list[dict[str, Any]]:
        """
        :param number: For how many environments
        :return: For the last of them, what SB3's statistics of episodes are made of
        """
        successes, first = self._columns.get("is_success"), max(len(self) - number, 0)
        rows: list[dict[str, Any]] = [{"episode": self._statistics(env)} for env in range(first, len(self))]
        if isinstance(successes, np.ndarray):
            for row, success in zip(rows, successes[first:].tolist(), strict=True):
                row["is_success"] = success
        return rows

    def __getitem__(self, index: Any) -> Any:
        if self.silent:
            return _NOTHING
        if isinstance(index, slice):
            return [self[env] for env in range(*index.indices(len(self)))]
        info = self._made.get(index)
        if info is None:
            env = range(len(self))[index]
            info = self._made.setdefault(env, LazyInfo(self, env))
        return info

    def row(self, env: int) -> dict[str, Any]:
        """
        :param env: Number of an environment
        :return: Its whole info
        """
        return {**info_row(self._columns, env), "episode": self._statistics(env), "TimeLimit.truncated": False}

    def _statistics(self, env: int) -> dict[str, Any]:
        return {"r": round(float(self._rewards[env]), 6), "l": 1, "t": round(self._seconds, 6)}


class LazyInfo(dict[str, Any]):
    """
    One of :class:`DecisionInfos`. SB3 asks each of them, in every step, for something that is not there.

    :param infos: All of them
    :param env: Number of the environment
    """

    __slots__ = ("_env", "_infos")

    def __init__(self, infos: DecisionInfos, env: int) -> None:
        self._infos: DecisionInfos | None = infos
        self._env = env

    def get(self, key: Any, default: Any = None) -> Any:
        """See the parent."""
        if self._infos is not None:
            if key not in self._infos._keys:
                return default
            self._fill()
        return super().get(key, default)

    def _fill(self) -> None:
        if (infos := self._infos) is not None:
            self._infos = None
            super().update(infos.row(self._env))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _filled(name: str) -> Callable[..., Any]:
    method_of_dict = getattr(dict, name)

    def method(self: LazyInfo, *args: Any, **kwargs: Any) -> Any:
        self._fill()
        return method_of_dict(self, *args, **kwargs)

    method.__name__ = name
    return method


_NAMES = "__contains__ __delitem__ __eq__ __getitem__ __ior__ __iter__ __len__ __ne__ __or__ __repr__ __reversed__ __ror__"
_NAMES += " __setitem__ clear copy items keys pop popitem setdefault update values"
for _name in _NAMES.split():
    setattr(LazyInfo, _name, _filled(_name))
