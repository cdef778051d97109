"""Encoders of one modality: a state after each row, made of that row and those before it."""

from typing import Final

import torch as th
from torch import nn
from torch.nn import functional as F


class LstmEncoder(nn.Module):
    """
    A long short-term memory (https://doi.org/10.1162/neco.1997.9.8.1735).

    :param n_inputs: Number of inputs in each row
    :param n_features: Size of the state
    """

    def __init__(self, n_inputs: int, n_features: int):
        super().__init__()
        self.lstm = nn.LSTM(n_inputs, n_features)

    def forward(self, rows: th.Tensor) -> th.Tensor:
        """
        :param rows: Rows, the oldest first, (T, n, n_inputs)
        :return: State after each row, (T, n, n_features)
        """
        states, _ = self.lstm(rows)
        return states


class CnnEncoder(nn.Module):
    """
    Two layers of causal convolution over time with ReLU: a state sees its own row and the four before it.

    :param n_inputs: Number of inputs in each row
    :param n_features: Size of the state
    """

    KERNEL: Final = 3

    def __init__(self, n_inputs: int, n_features: int):
        super().__init__()
        self.first = nn.Conv1d(n_inputs, n_features, self.KERNEL)
        self.second = nn.Conv1d(n_features, n_features, self.KERNEL)

    def forward(self, rows: th.Tensor) -> th.Tensor:
        """
        :param rows: Rows, the oldest first, (T, n, n_inputs)
        :return: State after each row, (T, n, n_features)
        """
        states = rows.permute(1, 2, 0)
        for layer in (self.first, self.second):
            states = F.relu(layer(F.pad(states, (self.KERNEL - 1, 0))))
        return states.permute(2, 0, 1)


ENCODERS: Final[dict[str, type[LstmEncoder] | type[CnnEncoder]]] = {"lstm": LstmEncoder, "cnn": CnnEncoder}
