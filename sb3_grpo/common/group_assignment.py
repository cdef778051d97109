"""Groups for any environment."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.core import ActType, ObsType

from sb3_grpo.common.checks import checked_names


class GroupAssignment(gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs):
    """
    Tells group-robust algorithms which group each step, or each episode, belongs to: writes ``group_id`` and
    ``group_exposure`` into ``info``. Wrap it last, around wrappers that change rewards or end episodes.

    With ``per="episode"`` the function is asked once, at reset (``action`` is None, ``info`` that of the reset). Each
    finished episode counts as an exposure of 1, so that the performance of a group is its mean return. With ``per="step"``
    it is asked at every step, with the observation that the action answered. Each step counts as an exposure of 1, so that
    the performance is the mean reward of the group's steps.

    :param env: Environment
    :param fn: ``fn(observation, action, info, episode) -> id``; ``episode`` counts the episodes of this environment from 0.
        The id is an integer from 0 to G - 1, or -1 for none
    :param per: Whether an ``"episode"`` or a ``"step"`` belongs to a group
    :param group_names: Names of the groups. Without names, ids may appear as training goes, but there is no group critic
    :raises ValueError: If ``fn`` cannot be called, ``per`` is neither, or the names are no sequence of distinct, non-empty
        strings; in ``reset`` and ``step`` if ``fn`` returns anything but such an id
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        fn: Callable[[Any, Any, dict[str, Any], int], int],
        per: Literal["episode", "step"] = "episode",
        group_names: Sequence[str] | None = None,
    ):
        gym.utils.RecordConstructorArgs.__init__(self, fn=fn, per=per, group_names=group_names)
        super().__init__(env)
        if not callable(fn):
            raise ValueError(f"`fn` must be a function (observation, action, info, episode) -> id, got {fn!r}")
        if per not in ("episode", "step"):
            raise ValueError(f"`per` must be 'episode' or 'step', got {per!r}")
        self.fn = fn
        self.per = per
        #: Hides the names of the environment, whose groups are replaced
        self.group_names = None if group_names is None else checked_names(group_names)
        self._episode = -1
        self._group_id = -1
        self._observation: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[ObsType, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._episode += 1
        self._observation = observation
        if self.per == "episode":
            self._group_id = self._ask(observation, None, info)
            info["group_id"] = self._group_id
        return observation, info

    def step(self, action: ActType) -> tuple[ObsType, SupportsFloat, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self.per == "step":
            self._group_id = self._ask(self._observation, action, info)
            self._observation = observation
        info["group_id"] = self._group_id
        info["group_exposure"] = self._exposure(self.per == "step" or terminated or truncated)
        # The environment's own split is by other groups
        info.pop("group_rewards", None)
        return observation, reward, terminated, truncated, info

    def _ask(self, observation: Any, action: Any, info: dict[str, Any]) -> int:
        answer = self.fn(observation, action, info, self._episode)
        n_groups = np.inf if self.group_names is None else len(self.group_names)
        try:
            group_id = operator.index(answer.item() if isinstance(answer, (np.ndarray, np.generic)) else answer)
        except (TypeError, ValueError):
            group_id = -2
        if not -1 <= group_id < n_groups:
            highest = "" if self.group_names is None else f" to {len(self.group_names) - 1}, for {self.group_names}"
            raise ValueError(
                f"`fn` of GroupAssignment returned {answer!r}, but must return a group id: an integer from 0{highest}, "
                "or -1 for none"
            )
        return group_id

    def _exposure(self, decided: bool) -> np.ndarray | float:
        """Vector of all groups; without names, of the step's own group."""
        if self.group_names is None:
            return float(decided and self._group_id >= 0)
        exposure = np.zeros(len(self.group_names), dtype=np.float32)
        if decided and self._group_id >= 0:
            exposure[self._group_id] = 1.0
        return exposure
