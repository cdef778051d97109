"""Puts the group into the observation, where a group-conditioned policy finds it in training and in ``predict()`` alike."""

from typing import Any, Final, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.core import ActType, ObsType

from sb3_grpo.common.checks import checked_names

#: Key of the group in a Dict observation
GROUP_KEY: Final = "group_id"


class GroupObservation(gym.Wrapper[Any, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs):
    """
    Adds the group of the episode to the observation, as the number ``group_id`` of the *reset's* info: from 0 to G - 1, or -1
    for none or a group that is not among those. :class:`~sb3_grpo.GroupAssignment` with ``per="episode"`` writes it; wrap that
    one in this.

    A flat Box gets one more entry, the last. A Dict gets the key ``group_id``, an array of one number. Any other observation
    becomes a Dict with the keys ``observation`` and ``group_id``.

    :param env: Environment
    :param group_names: Names of the groups; None: the environment's attribute ``group_names``
    :raises ValueError: If nobody names the groups or a Dict has such a key already; in use if the info of a reset lacks
        ``group_id``, or the group changes before the episode ends
    """

    def __init__(self, env: gym.Env[ObsType, ActType], group_names: Any = None):
        gym.utils.RecordConstructorArgs.__init__(self, group_names=group_names)
        super().__init__(env)
        if group_names is None and not env.has_wrapper_attr("group_names"):
            raise ValueError(
                "`group_names` must be given where the environment has no such attribute: wrap it in GroupAssignment first, "
                "or name the groups"
            )
        names = env.get_wrapper_attr("group_names") if group_names is None else group_names
        self.group_names = checked_names(names)
        self.observation_space = _space_with_group(env.observation_space, len(self.group_names))
        self._group_id = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        if GROUP_KEY not in info:
            raise ValueError(
                "info['group_id'] of the reset is missing, so nobody knows the group before the first action: wrap the "
                "environment in GroupAssignment(env, fn, per='episode'), or write it there"
            )
        self._group_id = int(info[GROUP_KEY])
        return self._with_group(observation), info

    def step(self, action: ActType) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if info.get(GROUP_KEY, self._group_id) not in (self._group_id, -1):
            raise ValueError(
                f"info['group_id'] is {info[GROUP_KEY]!r} in an episode of group {self._group_id}, but GroupObservation is "
                "for episodes that belong to one group: where steps do, put the group into the observation yourself"
            )
        return self._with_group(observation), reward, terminated, truncated, info

    def _with_group(self, observation: Any) -> Any:
        known = 0 <= self._group_id < len(self.group_names)
        return with_group(observation, self._group_id if known else -1)


def with_group(observation: Any, group_id: int) -> Any:
    """
    The observation as a group-conditioned policy wants it, for instance to ask what it would do for another group.

    :param observation: Observation of the environment without :class:`GroupObservation`
    :param group_id: The group; -1: none, or one that the policy does not know
    :return: Observation with the group
    """
    number = np.array([group_id], dtype=np.float32)
    if isinstance(observation, dict):
        return {**observation, GROUP_KEY: number}
    if isinstance(observation, np.ndarray) and observation.ndim == 1:
        return np.concatenate([observation, number.astype(np.result_type(observation, np.float32))])
    return {"observation": observation, GROUP_KEY: number}


def _space_with_group(space: gym.Space[Any], n_groups: int) -> gym.Space[Any]:
    number = spaces.Box(-1.0, n_groups - 1.0, (1,), np.float32)
    if isinstance(space, spaces.Dict):
        if GROUP_KEY in space.spaces:
            raise ValueError(f"The observation has a key {GROUP_KEY!r} already: {sorted(space.spaces)}")
        return spaces.Dict({**space.spaces, GROUP_KEY: number})
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        dtype: Any = np.result_type(space.dtype, np.float32)
        low, high = np.append(space.low, number.low), np.append(space.high, number.high)
        return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype)
    return spaces.Dict({"observation": space, GROUP_KEY: number})
