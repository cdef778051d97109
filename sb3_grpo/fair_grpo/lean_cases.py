"""The lean update for cases: R answers to a case share one observation, and there is no critic."""

import torch as th
from torch import nn

from sb3_grpo.common.lean_networks import LeanNetwork, LeanPolicy


class SharedInputs(LeanNetwork):
    """
    A network that looks at each case once, whatever the number of answers.

    :param network: The network
    :param answers: Number R of answers: rows i * R to (i + 1) * R - 1 of every input are the same
    """

    def __init__(self, network: LeanNetwork, answers: int):
        super().__init__(network.layers, network.activation)
        self.answers = answers

    def forward(self, inputs: th.Tensor) -> tuple[th.Tensor, list[th.Tensor]]:
        """See the parent."""
        outputs, layer_inputs = super().forward(inputs[:: self.answers])
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
        return inputs.new_zeros(len(inputs), 1), []

    def backward(self, gradient: th.Tensor, layer_inputs: list[th.Tensor]) -> None:
        """See the parent."""


def case_policy(lean: LeanPolicy, answers: int) -> LeanPolicy:
    """
    :param lean: Networks of a policy
    :param answers: Number of answers to each case
    :return: What computes the same for batches of whole cases, but for the values
    """
    extractor: nn.Module = lean.features_extractor
    return LeanPolicy(SharedInputs(lean.actor, answers), NoCritic(lean.critic), lean.masked_by_observation, extractor)
