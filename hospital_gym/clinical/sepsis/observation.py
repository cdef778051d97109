"""What a policy sees of a patient: the last states, as a window of standardised channels by modality or as one flat row."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hospital_gym.clinical.sepsis.mdp import Bools, Ints, SepsisMDP
from hospital_gym.clinical.sepsis.modalities import COLUMNS, MODALITIES, STATIC, column

NOBODY: Final = -1
"""Stands in a history for the time before the patient came."""
LIMIT: Final = 10.0
"""Standardised values farther from the mean are set to this."""

Observation = npt.NDArray[np.float32] | dict[str, npt.NDArray[np.float32]]


class HistoryObservation:
    """
    Makes observations of histories: arrays of state numbers, (n, H), of which the last column is now. Columns before a patient
    came hold :data:`NOBODY`.

    Every column of the state vectors is standardised: mean 0 and deviation 1 over the states in which somebody is treated.

    As a Dict, with C channels of a modality: ``<modality>`` (H, C); ``<modality>_observed`` (H, C), 1 in rows of the stay, in
    which all is known, 0 in padding; ``hours`` (H,), 1 in rows of the stay; ``static`` (4,), of the present state. Flat: the
    rows of all 47 columns, the oldest first, then ``hours``, then the mask of admissible actions: (47 H + H + A,).

    :param mdp: the decision problem
    :param history: number of states seen, H
    :param flat: whether the observation is flat
    """

    def __init__(self, mdp: SepsisMDP, history: int, flat: bool) -> None:
        self.history, self.flat, self._masks = history, flat, mdp.admissible
        treated = mdp.centres[: mdp.n_transient]
        deviation = treated.std(axis=0)
        standardised = (treated - treated.mean(axis=0)) / np.where(deviation > 0.0, deviation, 1.0)
        # Nobody is seen in a terminal state, and NOBODY finds the last row
        self._table = np.zeros((mdp.n_states + 1, len(COLUMNS)), dtype=np.float32)
        self._table[: mdp.n_transient] = np.clip(standardised, -LIMIT, LIMIT)
        self._parts = {}
        if not flat:  # modalities side by side, so that each is a slice of one look-up
            ordered = [name for channels in MODALITIES.values() for name in channels]
            ends = np.cumsum([len(channels) for channels in MODALITIES.values()])
            self._parts = {name: slice(end - len(MODALITIES[name]), end) for name, end in zip(MODALITIES, ends, strict=True)}
            self._static = np.ascontiguousarray(self._table[:, [column(name) for name in STATIC]])
            self._table = np.ascontiguousarray(self._table[:, [column(name) for name in ordered]])

    @property
    def space(self) -> spaces.Space[Any]:
        """Space of one observation."""
        if self.flat:
            n_values, n_actions = self.history * len(COLUMNS), self._masks.shape[1]
            high = np.repeat([LIMIT, 1.0], [n_values, self.history + n_actions]).astype(np.float32)
            low = np.repeat([-LIMIT, 0.0], [n_values, self.history + n_actions]).astype(np.float32)
            return spaces.Box(low, high, dtype=np.float32)
        parts: dict[str, Any] = {}
        for name, channels in MODALITIES.items():
            shape = (self.history, len(channels))
            parts[name] = spaces.Box(-LIMIT, LIMIT, shape, dtype=np.float32)
            parts[f"{name}_observed"] = spaces.Box(0.0, 1.0, shape, dtype=np.float32)
        parts["hours"] = spaces.Box(0.0, 1.0, (self.history,), dtype=np.float32)
        parts["static"] = spaces.Box(-LIMIT, LIMIT, (len(STATIC),), dtype=np.float32)
        return spaces.Dict(parts)

    def observe(self, histories: Ints) -> Observation:
        """
        :param histories: (n, H) state numbers
        :return: observations of n patients, which are the caller's own
        """
        values = self._table[histories]
        hours = (histories != NOBODY).astype(np.float32)
        if self.flat:
            masks: Bools = self._masks[histories[:, -1]]
            return np.concatenate([values.reshape(len(histories), -1), hours, masks], axis=1, dtype=np.float32)
        parts: dict[str, npt.NDArray[np.float32]] = {}
        for name, place in self._parts.items():
            parts[name] = values[:, :, place]
            parts[f"{name}_observed"] = np.repeat(hours[:, :, None], place.stop - place.start, axis=2)
        parts["hours"] = hours
        parts["static"] = self._static[histories[:, -1]]
        return parts


def first_row(observations: Observation, place: int = 0) -> Any:
    """
    :param observations: of n patients
    :param place: which of them
    :return: the observation of one, a copy
    """
    if isinstance(observations, dict):
        return {key: values[place].copy() for key, values in observations.items()}
    return observations[place].copy()
