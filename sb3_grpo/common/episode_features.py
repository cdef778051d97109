"""What whole episodes were like, collected piece by piece from rollouts that cut them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: An episode without known label, and one whose steps disagree
NO_LABEL, MIXED_LABELS = -1, -2

#: Above this many entries of an observation, their means and deviations tell episodes apart no more
MAX_ENTRIES = 1000


class EpisodeSummary:
    """Observations, return and label of one episode so far."""

    def __init__(self) -> None:
        self.total = 0.0  # return so far
        self.label = NO_LABEL
        self._length = 0
        self._mean: np.ndarray | float = 0.0  # of each entry
        self._squares: np.ndarray | float = 0.0  # sum of squared deviations from the mean
        self._pieces: list[tuple[np.ndarray, np.ndarray]] = []

    def extend(
        self,
        observations: np.ndarray,
        rewards: np.ndarray,
        ids: np.ndarray,
        function: Callable[[np.ndarray, np.ndarray], Any] | None = None,
    ) -> None:
        """
        :param observations: Observations of the next steps, (L, D)
        :param rewards: Raw rewards, (L,)
        :param ids: Group ids that the environment told, (L,), -1 for none
        :param function: The user's features; only they need everything to be kept
        :raises ValueError: If there are more than ``MAX_ENTRIES`` entries and no such function
        """
        self.total += float(rewards.sum(dtype=np.float64))
        told = np.unique(ids[ids >= 0])
        if len(told):
            agree = len(told) == 1 and self.label in (NO_LABEL, told[0])
            self.label = int(told[0]) if agree else MIXED_LABELS
        if function is not None:
            self._pieces.append((observations.copy(), rewards.copy()))
            return
        n_entries = observations.shape[1]
        if n_entries > MAX_ENTRIES:
            raise ValueError(
                f"An observation has {n_entries} entries, but LatentGroups summarises at most {MAX_ENTRIES} by itself: "
                "pass `features=`"
            )
        # Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979
        values, before = observations.astype(np.float64), self._length
        mean = values.mean(axis=0)
        self._length += len(values)
        shift = mean - self._mean
        self._mean = self._mean + shift * (len(values) / self._length)
        self._squares = self._squares + np.square(values - mean).sum(axis=0) + shift**2 * (before * len(values) / self._length)

    def features(self, function: Callable[[np.ndarray, np.ndarray], Any] | None = None) -> np.ndarray:
        """
        :param function: The same as before
        :return: What the function says of the episode so far; without one, mean and standard deviation of each entry, (2 D,)
        """
        if function is not None:
            observations, rewards = zip(*self._pieces, strict=True)
            return np.asarray(function(np.concatenate(observations), np.concatenate(rewards)), dtype=np.float64)
        mean, deviation = np.asarray(self._mean), np.sqrt(np.asarray(self._squares) / self._length)
        # An entry that never changed must not become rounding noise, which standardisation would blow up
        deviation[deviation <= np.finfo(np.float32).eps * np.abs(mean)] = 0.0
        return np.concatenate([mean, deviation])


def flat_observations(observations: Any, leading: int = 2) -> np.ndarray:
    """
    :param observations: Observations of a rollout, (T, N, ...), or such arrays by key
    :param leading: Number of axes to keep before those of one observation
    :return: (T, N, D); the parts of a dict side by side, sorted by key
    """
    if isinstance(observations, Mapping):
        return np.concatenate([flat_observations(observations[key], leading) for key in sorted(observations)], axis=-1)
    observations = np.asarray(observations)
    return observations.reshape(*observations.shape[:leading], -1)
