"""Some observations of a rollout, to look at what a policy does with them."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.utils import obs_as_tensor


def some_observations(buffer: RolloutBuffer, at_most: int, device: th.device) -> Any:
    """
    :param buffer: A complete rollout
    :param at_most: Number of observations, if there are as many
    :param device: Where to put them
    :return: Observations at equal distances, as the policy gets them, (n, ...), or a dict of such
    """

    def some(column: np.ndarray) -> np.ndarray:
        leading = 1 if buffer.generator_ready else 2  # the first minibatch joins the axes of steps and environments
        rows = column.reshape(-1, *column.shape[leading:])
        return rows[np.linspace(0, len(rows) - 1, min(at_most, len(rows))).astype(int)]

    observations: Any = buffer.observations
    if isinstance(observations, dict):
        return obs_as_tensor({key: some(column) for key, column in observations.items()}, device)
    return obs_as_tensor(some(observations), device)
