"""Groups for any environment."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.core import ActType, ObsType

from sb3_grpo.common.checks import checked_names
from sb3_grpo.common.group_attributes import GroupAttribute, checked_id
from sb3_grpo.common.group_merging import MergeReport


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
        The id is an integer from 0 to G - 1, or -1 for none. An attribute (:mod:`sb3_grpo.common.group_attributes`) is such
        a function and brings the names of its groups
    :param per: Whether an ``"episode"`` or a ``"step"`` belongs to a group
    :param group_names: Names of the groups; None: those of the attribute. Without any, ids may appear as training goes, but
        there is no group critic
    :raises ValueError: If ``fn`` cannot be called, ``per`` is neither, or the names are no sequence of distinct, non-empty
        strings, one for each group of the attribute; in ``reset`` and ``step`` if ``fn`` returns anything but such an id
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
        if isinstance(fn, GroupAttribute):
            if self.group_names is not None and len(self.group_names) != len(fn.names):
                raise ValueError(f"`group_names` must hold a name for each of the groups {fn.names}, got {group_names!r}")
            self.group_names = self.group_names or fn.names
        self._episode = -1
        self._group_id = -1
        self._observation: Any = None

    @property
    def merge_report(self) -> MergeReport | None:
        """What became of each group if small ones were merged, else None. For a VecEnv: ``get_attr("merge_report")``."""
        return getattr(self.fn, "report", None)

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
        return checked_id(answer, self.group_names, "`fn` of GroupAssignment")

    def _exposure(self, decided: bool) -> np.ndarray | float:
        """Vector of all groups; without names, of the step's own group."""
        if self.group_names is None:
            return float(decided and self._group_id >= 0)
        exposure = np.zeros(len(self.group_names), dtype=np.float32)
        if decided and self._group_id >= 0:
            exposure[self._group_id] = 1.0
        return exposure


def count_groups(
    env: gym.Env[Any, Any],
    attribute: GroupAttribute,
    episodes: int,
    seed: int | None = None,
    per: Literal["episode", "step"] = "episode",
) -> np.ndarray:
    """
    Count how many units each group holds, so that small groups can be merged *before* training
    (:func:`~sb3_grpo.common.group_merging.merge_small`).

    With ``per="episode"`` the environment is reset ``episodes`` times. With ``per="step"`` that many episodes are played with
    random actions, valid ones where the environment has ``action_masks()``; another policy may meet other steps.

    :param env: Environment, not wrapped in ``GroupAssignment``. It is left in the middle of an episode
    :param attribute: The attribute
    :param episodes: Number of episodes, at least 1
    :param seed: Seed of the first reset and of the actions
    :param per: Whether episodes or steps are counted
    :return: Units of each group, (G,) int64. Units without group are not counted
    :raises ValueError: If an argument is not what it must be
    """
    if not isinstance(attribute, GroupAttribute):
        raise ValueError(f"`attribute` must be an attribute (by_observation, by_info, by_function, ...), got {attribute!r}")
    if isinstance(episodes, bool) or not isinstance(episodes, (int, np.integer)) or episodes < 1:
        raise ValueError(f"`episodes` must be an integer, at least 1, got {episodes!r}")
    assigned = GroupAssignment(env, attribute, per=per)
    actions = copy.deepcopy(env.action_space)  # its random state stays the environment's own
    actions.seed(seed)
    counts = np.zeros(len(attribute.names) + 1, dtype=np.int64)  # the last one: without group
    for episode in range(episodes):
        _, info = assigned.reset(seed=seed if episode == 0 else None)
        if per == "episode":
            counts[info["group_id"]] += 1
            continue
        done = False
        while not done:
            *_, terminated, truncated, info = assigned.step(_random_action(assigned, actions))
            counts[info["group_id"]] += 1
            done = terminated or truncated
    return counts[:-1]


def _random_action(env: gym.Env[Any, Any], actions: gym.Space[Any]) -> Any:
    if not env.has_wrapper_attr("action_masks"):
        return actions.sample()
    masks = np.asarray(env.get_wrapper_attr("action_masks")(), dtype=np.int8)
    if isinstance(actions, spaces.Discrete):
        return actions.sample(mask=masks)
    if isinstance(actions, spaces.MultiDiscrete) and actions.nvec.ndim == 1:
        return actions.sample(mask=tuple(np.split(masks.reshape(-1), np.cumsum(actions.nvec)[:-1])))
    raise ValueError(f"Actions with masks must be Discrete or MultiDiscrete, got {actions}")
