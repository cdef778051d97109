"""Fusion of clinical time series: an encoder for each modality, attention over time, and a gate over all of them."""

from typing import Final, NamedTuple

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_grpo.common.checks import check_whole
from sb3_grpo.time_series.attention import AttentionFromNow
from sb3_grpo.time_series.encoders import ENCODERS
from sb3_grpo.time_series.layout import TimeSeriesLayout, read_layout
from sb3_grpo.time_series.rows import carried_forward, read_rows

#: What the static part is called in readings of the gate
STATIC: Final = "static"


class FusionReading(NamedTuple):
    """
    What :meth:`TimeSeriesFusionExtractor.read` saw and made of n observations with M modalities of T rows.

    :param features: gate * fused, (n, F): what the policy gets
    :param fused: Z, the parts side by side, (n, F)
    :param gate: sigmoid(W Z + b), (n, F)
    :param attention: Weight of each row in each modality and head, (n, M, heads, T): 0 for padding and rows without a
        measurement; sums to 1, or to 0 where a modality is wholly missing
    """

    features: th.Tensor
    fused: th.Tensor
    gate: th.Tensor
    attention: th.Tensor


class TimeSeriesFusionExtractor(BaseFeaturesExtractor):
    """
    Features of irregular time series in a Dict observation, after the fusion network of https://arxiv.org/abs/2504.18631:

    1. Each modality is encoded by an LSTM or a causal 1D-CNN, whose inputs in each row are the newest value of each channel so
       far (0 before the first), which of them were measured in this row, and the hour of what is seen of the stay.
    2. The state of *now* attends to the states of all rows in which something of the modality was measured (multi-head
       attention: the last row of causal self-attention, the only one that is needed) and is added to what it finds.
    3. The modalities, and a linear layer with tanh of everything static, stand side by side: Z.
    4. The features are sigmoid(W Z + b) * Z.

    Rows that are padding, and values that were not measured, are never read: whatever is written there, NaN included, the
    features are the same to the last bit. A modality without any measurement becomes a learned constant.

    For ``policy_kwargs=dict(features_extractor_class=TimeSeriesFusionExtractor)`` with ``MultiInputPolicy`` or
    ``GroupConditionedPolicy``. What the observation must look like: :func:`~sb3_grpo.time_series.read_layout`.

    :param observation_space: Observation space, a Dict
    :param encoder: ``"lstm"`` or ``"cnn"``
    :param modality_dim: Features of each modality, a multiple of ``n_heads``
    :param static_dim: Features of everything static
    :param n_heads: Heads of the attention
    :param carry_forward: Whether a value that was not measured in a row is the newest one so far, rather than 0
    :raises ValueError: If an argument is out of range or the space is no such Dict; in use if a mask is neither 0 nor 1
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        encoder: str = "lstm",
        modality_dim: int = 32,
        static_dim: int = 16,
        n_heads: int = 2,
        carry_forward: bool = True,
    ):
        layout = read_layout(observation_space)
        if encoder not in ENCODERS:
            raise ValueError(f"`encoder` must be one of {tuple(ENCODERS)}, got {encoder!r}")
        for key, number in (("modality_dim", modality_dim), ("static_dim", static_dim), ("n_heads", n_heads)):
            check_whole(key, number, 1)
        if modality_dim % n_heads:
            raise ValueError(f"`modality_dim` must be a multiple of `n_heads`, {n_heads}, got {modality_dim}")
        refused = [key for key in layout.modalities if key == STATIC or "." in key or hasattr(nn.ModuleDict, key)]
        if refused:
            raise ValueError(
                f"observation_space: got modalities named {refused}, which Python or torch use otherwise: rename them"
            )
        parts = {**dict.fromkeys(layout.modalities, modality_dim), **({STATIC: static_dim} if layout.static else {})}
        super().__init__(observation_space, sum(parts.values()))
        #: Number of features of each part of Z by name: the modalities, and ``"static"`` last, if there is anything static
        self.parts = parts
        self.layout: TimeSeriesLayout = layout
        self.carry_forward = carry_forward
        self.encoders = nn.ModuleDict(
            {key: ENCODERS[encoder](2 * n + 1, modality_dim) for key, n in layout.modalities.items()}
        )
        self.attentions = nn.ModuleDict({key: AttentionFromNow(modality_dim, n_heads) for key in layout.modalities})
        self.missing = nn.ParameterDict({key: th.zeros(modality_dim) for key in layout.modalities})
        self.static_net = nn.Sequential(nn.Linear(layout.n_static, static_dim), nn.Tanh()) if layout.static else None
        self.gate = nn.Linear(self.features_dim, self.features_dim)

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """
        :param observations: n observations
        :return: Features, (n, F)
        """
        return self.read(observations).features

    def read(self, observations: dict[str, th.Tensor]) -> FusionReading:
        """
        The same, with what the gate and the attention did.

        :param observations: n observations, as the policy gets them, preprocessed by SB3
        :return: Features, gate and attention
        """
        rows = read_rows(observations, self.layout, self.gate.weight.dtype)
        known = carried_forward(rows.values, rows.measured) if self.carry_forward else rows.values
        channels = list(self.layout.modalities.values())
        series = zip(self.layout.modalities, known.split(channels, dim=2), rows.measured.split(channels, dim=2), strict=True)
        parts, attention = [], []
        for key, values, measured in series:
            inputs = th.cat([values, measured.to(values), rows.clock], dim=2)
            part, weight = self._modality(key, inputs, measured.any(dim=2).t(), rows.now)
            parts.append(part)
            attention.append(weight)
        if self.static_net is not None:
            static = th.cat([observations[key].flatten(1) for key in self.layout.static], dim=1)
            parts.append(self.static_net(static.to(self.gate.weight)))
        fused = th.cat(parts, dim=1)
        gate = th.sigmoid(self.gate(fused))
        return FusionReading(gate * fused, fused, gate, rows.in_time(th.stack(attention, dim=1)))

    def gate_by_part(self, gate: th.Tensor) -> th.Tensor:
        """
        :param gate: Gate, (n, F)
        :return: Its mean over the features of each of the :attr:`parts`, (n, P)
        """
        return th.stack([part.mean(dim=1) for part in gate.split(list(self.parts.values()), dim=1)], dim=1)

    def _modality(self, key: str, inputs: th.Tensor, measured: th.Tensor, now: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        :param inputs: What the encoder gets, (T, n, 2 C + 1)
        :param measured: Whether anything was measured in a row, (n, T)
        :return: Features of a modality, (n, D), and the weight of each row, (n, heads, T)
        """
        states = self.encoders[key](inputs)
        present = measured.any(dim=1, keepdim=True)
        state = states.gather(0, now[None, :, None].expand(-1, -1, states.shape[2])).squeeze(0)
        # Attention to nothing would be NaN: where nothing was measured all rows are read, and the result is replaced
        found, weights = self.attentions[key](state, states, measured | ~present)
        return th.where(present, state + found, self.missing[key]), weights * present[:, :, None]


def fusion_extractor(policy: BasePolicy) -> TimeSeriesFusionExtractor:
    """
    :param policy: A policy
    :return: The extractor of its actor
    :raises ValueError: If it is no :class:`TimeSeriesFusionExtractor`
    """
    root = getattr(policy, "pi_features_extractor", None)
    for module in [] if root is None else root.modules():
        if isinstance(module, TimeSeriesFusionExtractor):
            return module
    raise ValueError(
        f"policy: got a {type(policy).__name__} with {type(root).__name__}, expected one trained with "
        "policy_kwargs=dict(features_extractor_class=TimeSeriesFusionExtractor)"
    )
