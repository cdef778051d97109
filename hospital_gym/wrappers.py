"""Wrappers of the hospitals."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from hospital_gym.observation import FIELDS, ObservationLayout

_MASK = "action_mask"


class HideFields(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """Sets fields of a hospital's observation to 0, so that a policy has to remember or to do without them.

    The mask cannot be hidden: policies that read it there would find no valid action.

    :param env: a hospital
    :param fields: names of :data:`hospital_gym.observation.FIELDS`, such as ``("head_wait", "mean_wait")``
    :raises ValueError: if a name is unknown, or the environment's observation is not a hospital's
    """

    def __init__(self, env: gym.Env[npt.NDArray[np.float32], Any], fields: Sequence[str] | str) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, fields=fields)
        super().__init__(env)
        self.fields = (fields,) if isinstance(fields, str) else tuple(fields)
        known = [field.name for field in FIELDS if field.name != _MASK]
        for name in self.fields:
            if name not in known:
                raise ValueError(f"fields: got {name!r}, expected names of {', '.join(known)}")
        n_groups = len(env.get_wrapper_attr("group_names")) if env.has_wrapper_attr("group_names") else 0
        layout, space = ObservationLayout(n_groups), env.observation_space
        if space.shape != (layout.size,):
            raise ValueError(f"env: got observations {space}, expected the {layout.size} numbers of a hospital")
        self._hidden = np.zeros(layout.size, dtype=bool)
        for name in self.fields:
            self._hidden[layout.slices[name]] = True

    def observation(self, observation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The observation without the hidden fields.

        :param observation: shape (size,)
        :return: a copy, same shape
        """
        return np.where(self._hidden, np.float32(0), observation)
