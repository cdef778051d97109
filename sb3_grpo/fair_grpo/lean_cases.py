"""The lean update for cases: R answers to a case share one observation, and there is no critic."""

from typing import Any

import torch as th

from sb3_grpo.common.lean_networks import LeanNetwork, LeanPolicy


class SharedInputs(LeanNetwork):
    """
    A network that looks at each case once, whatever the number of answers. Its inputs are row numbers of ``table``, (n, 1).

    :param network: The network
    :param answers: Number R of answers: rows i * R to (i + 1) * R - 1 of every batch are answers to the same case
    """

    table: th.Tensor  # inputs of the network, (m, d)

    def __init__(self, network: LeanNetwork, answers: int):
        super().__init__(network.layers, network.activation)
        self.answers = answers

    def forward(self, inputs: th.Tensor) -> tuple[th.Tensor, list[th.Tensor]]:
        """See the parent."""
        outputs, layer_inputs = super().forward(self.table[inputs[:: self.answers, 0]])
        return outputs.repeat_interleave(self.answers, dim=0), layer_inputs

    def backward(self, gradient: th.Tensor, layer_inputs: list[th.Tensor]) -> None:
        """See the parent."""
        super().backward(gradient.view(-1, self.answers, gradient.shape[1]).sum(1), layer_inputs)


class NoCritic(LeanNetwork):
    """
    Values that are all zero, and are not learned.

    :param network: The network that is not used
    """

    def __init__(self, network: LeanNetwork):
        super().__init__(network.layers, network.activation)

    def forward(self, inputs: th.Tensor) -> tuple[th.Tensor, list[th.Tensor]]:
        """See the parent."""
        return th.zeros(len(inputs), 1, device=inputs.device), []

    def backward(self, gradient: th.Tensor, layer_inputs: list[th.Tensor]) -> None:
        """See the parent."""


class CasePolicy(LeanPolicy):
    """
    What computes the same as another policy for batches of whole cases, but for the values.

    :param lean: Networks of the policy
    :param answers: Number of answers to each case
    """

    def __init__(self, lean: LeanPolicy, answers: int):
        self.shared = SharedInputs(lean.actor, answers)
        super().__init__(self.shared, NoCritic(lean.critic), lean.masked_by_observation, lean.features_extractor)

    def inputs(self, observations: th.Tensor) -> th.Tensor:
        """
        See the parent.

        :return: Row numbers, (n, 1): cheaper to pick minibatches from than R copies of what they stand for
        """
        self.shared.table = super().inputs(observations)
        return th.arange(len(observations), device=observations.device)[:, None]

    def invalid(self, inputs: th.Tensor, action_masks: Any) -> th.Tensor | None:
        """See the parent."""
        return super().invalid(self.shared.table[inputs[:, 0]] if self.masked_by_observation else inputs, action_masks)
