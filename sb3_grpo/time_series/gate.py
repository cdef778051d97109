"""Whether the gate of a fusion network is of any use. P is the number of parts: the modalities, and everything static."""

from typing import Final, NamedTuple

import numpy as np
import torch as th

#: A part whose mean gate is below this is as good as switched off
CLOSED_BELOW: Final = 0.05
#: A gate whose entries deviate less than this from their mean, over features and patients, is one number
UNIFORM_BELOW: Final = 0.01


class GateUse(NamedTuple):
    """
    :param levels: Mean of each part, in (0, 1), (P,)
    :param spread: Standard deviation over all features and patients
    :param response: Standard deviation over patients, the mean over features: 0 if every patient has the same gate
    """

    levels: np.ndarray
    spread: float
    response: float

    def closed(self, below: float = CLOSED_BELOW) -> np.ndarray:
        """Which parts are as good as switched off, (P,) bool."""
        return self.levels < below

    def collapse(self, closed_below: float = CLOSED_BELOW, uniform_below: float = UNIFORM_BELOW) -> str | None:
        """
        :param closed_below: Mean below which a part counts as switched off
        :param uniform_below: Spread below which the gate counts as one number
        :return: ``"closed"`` if all parts are switched off, ``"uniform"`` if the gate is one number for all features and
            patients (so that it could be left out), else None
        """
        if self.closed(closed_below).all():
            return "closed"
        return "uniform" if self.spread < uniform_below else None


def gate_use(gate: np.ndarray | th.Tensor, sizes: list[int]) -> GateUse:
    """
    :param gate: Gate of n patients, in [0, 1], (n, F)
    :param sizes: Number of features of each part; their sum is F
    :return: What the gate does
    :raises ValueError: If the shape does not fit, or nobody's gate is given
    """
    gate = np.asarray(gate.detach().cpu() if isinstance(gate, th.Tensor) else gate, dtype=np.float64)
    if gate.ndim != 2 or not len(gate) or gate.shape[1] != sum(sizes):
        raise ValueError(f"gate: got the shape {gate.shape}, expected (n, {sum(sizes)}) with n of at least 1")
    parts = np.split(gate, np.cumsum(sizes)[:-1], axis=1)
    return GateUse(np.array([part.mean() for part in parts]), float(gate.std()), float(gate.std(axis=0).mean()))
