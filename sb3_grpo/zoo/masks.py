"""Masks of valid actions for models that are played by code that knows none.

RL Zoo's ``enjoy`` and SB3's ``EvalCallback`` call ``model.predict(observation)``. So the masks travel with the observation:
:class:`MasksInObservations` puts them there, :class:`MasksFromObservations` finds them.
"""

from typing import Any

import numpy as np
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_grpo.group_robust_ppo import GroupRobustMaskablePPO


class MaskedArray(np.ndarray):
    """An array of observations with the masks of valid actions that belong to them; copies and results keep them."""

    action_masks: np.ndarray | None

    def __array_finalize__(self, source: Any) -> None:
        self.action_masks = getattr(source, "action_masks", None)


class MaskedDict(dict[str, np.ndarray]):
    """The same for Dict spaces."""

    action_masks: np.ndarray | None = None


class MasksInObservations(VecEnvWrapper):
    """Hands out observations with masks, (n, n_actions), as attribute ``action_masks``.

    In RL Zoo's YAML: ``vec_env_wrapper: sb3_grpo.zoo.masks.MasksInObservations``. Here that is added for the algorithms that
    need it.

    :param venv: environments with a method ``action_masks()``
    """

    def reset(self) -> VecEnvObs:
        """See the parent."""
        return self._with_masks(self.venv.reset())

    def step_wait(self) -> VecEnvStepReturn:
        """See the parent."""
        observations, rewards, dones, infos = self.venv.step_wait()
        return self._with_masks(observations), rewards, dones, infos

    def _with_masks(self, observations: Any) -> Any:
        masked: MaskedArray | MaskedDict
        masked = MaskedDict(observations) if isinstance(observations, dict) else observations.view(MaskedArray)
        masked.action_masks = get_action_masks(self.venv)
        return masked


class MasksFromObservations:
    """Goes before MaskablePPO in the list of base classes: ``predict`` takes the masks of :class:`MasksInObservations`."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[np.ndarray, Any]:
        """As MaskablePPO's.

        :param observation: observations; their masks are used unless others are given
        :param state: not used
        :param episode_start: not used
        :param deterministic: whether to take the most likely action
        :param action_masks: masks of valid actions
        :return: actions, and no state
        """
        if action_masks is None:
            action_masks = getattr(observation, "action_masks", None)
        return super().predict(observation, state, episode_start, deterministic, action_masks)  # type: ignore[misc]


class ZooMaskablePPO(MasksFromObservations, MaskablePPO):
    """``MaskablePPO`` that takes masks from the observation."""


class ZooGroupRobustMaskablePPO(MasksFromObservations, GroupRobustMaskablePPO):  # type: ignore[misc]
    """``GroupRobustMaskablePPO`` that takes masks from the observation."""
