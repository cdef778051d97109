"""Actor and critic as matrix products: what a plain network does, without a graph of it."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.distributions import MaskableCategoricalDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import nn

from sb3_grpo.common.masked_policies import INVALID_LOGIT, ObservationMaskMixin

#: Methods that say what a policy computes; whoever has others computes something else
_EVALUATED: Final = ("forward", "evaluate_actions", "extract_features", "_get_action_dist_from_latent")


class Activation(NamedTuple):
    """
    :param apply: The function, in place
    :param backward: Gradient with respect to its input, given that with respect to its output, and its output
    """

    apply: Callable[[th.Tensor], th.Tensor]
    backward: Callable[[th.Tensor, th.Tensor], th.Tensor]


def _tanh(inputs: th.Tensor) -> th.Tensor:
    """In place. On a CPU NumPy's takes a fifth of the time of torch's, and is as exact to a few units in the last place."""
    if inputs.device.type != "cpu":
        return inputs.tanh_()
    array = inputs.numpy()
    np.tanh(array, out=array)
    return inputs


def _relu_backward(gradient: th.Tensor, output: th.Tensor) -> th.Tensor:
    return th.ops.aten.threshold_backward(gradient, output, 0)


ACTIVATIONS: Final[dict[type[nn.Module], Activation]] = {
    nn.Tanh: Activation(_tanh, th.ops.aten.tanh_backward),
    nn.ReLU: Activation(th.relu_, _relu_backward),
}


class LeanNetwork:
    """
    A chain of linear layers with one kind of activation between them.

    :param layers: The layers
    :param activation: Activation after each layer but the last
    """

    def __init__(self, layers: list[nn.Linear], activation: Activation):
        self.layers = layers
        self.activation = activation

    def forward(self, inputs: th.Tensor) -> tuple[th.Tensor, list[th.Tensor]]:
        """
        :param inputs: Inputs, (n, d)
        :return: Outputs of the last layer, (n, k); and the inputs of each layer, for :meth:`backward`
        """
        layer_inputs = []
        for layer in self.layers[:-1]:
            layer_inputs.append(inputs)
            inputs = self.activation.apply(th.addmm(layer.bias, inputs, layer.weight.t()))
        layer_inputs.append(inputs)
        return th.addmm(self.layers[-1].bias, inputs, self.layers[-1].weight.t()), layer_inputs

    def backward(self, gradient: th.Tensor, layer_inputs: list[th.Tensor]) -> None:
        """
        Write the gradient of a loss into ``grad`` of every parameter, which must be there.

        :param gradient: Gradient with respect to the outputs, (n, k)
        :param layer_inputs: What :meth:`forward` returned beside them
        """
        for place in reversed(range(len(self.layers))):
            layer, inputs = self.layers[place], layer_inputs[place]
            th.mm(gradient.t(), inputs, out=layer.weight.grad)
            th.sum(gradient, 0, out=layer.bias.grad)
            if place:
                gradient = self.activation.backward(th.mm(gradient, layer.weight), inputs)


class LeanPolicy:
    """
    The networks of an actor-critic policy over discrete actions; made by :func:`lean_policy`.

    :param actor: Gives logits, (n, A)
    :param critic: Gives values, (n, 1), or (n, G) with a group critic
    :param masked_by_observation: Whether the last A entries of an observation say which actions are valid
    :param features_extractor: Makes (n, d) of observations
    """

    def __init__(self, actor: LeanNetwork, critic: LeanNetwork, masked_by_observation: bool, features_extractor: nn.Module):
        self.actor = actor
        self.critic = critic
        self.masked_by_observation = masked_by_observation
        self.features_extractor = features_extractor

    @property
    def n_actions(self) -> int:
        """Number of actions, A."""
        return self.actor.layers[-1].out_features

    def inputs(self, observations: th.Tensor) -> th.Tensor:
        """
        :param observations: Observations, (n, ...)
        :return: What both networks get, (n, d)
        """
        return self.features_extractor(observations.float())

    def invalid(self, inputs: th.Tensor, action_masks: Any) -> th.Tensor | None:
        """
        :param inputs: Inputs of the networks, (n, d)
        :param action_masks: Which actions are valid, n * A entries, or None
        :return: Which actions are invalid, (n, A) bool; None if nobody says
        """
        if self.masked_by_observation:
            return inputs[:, -self.n_actions :] < 0.5
        if action_masks is None:
            return None
        return ~th.as_tensor(action_masks, dtype=th.bool, device=inputs.device).reshape(-1, self.n_actions)

    def act(
        self, observations: th.Tensor, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """
        What the policy's ``forward()`` returns, from the same random numbers.

        :param observations: Observations, (n, ...)
        :param deterministic: Whether to take the most likely actions
        :param action_masks: Which actions are valid, n * A entries, or None
        :return: Actions, (n,); values, (n, 1) or (n, G); log probabilities of the actions, (n,)
        """
        with th.inference_mode():
            inputs = self.inputs(observations)
            logits, _ = self.actor.forward(inputs)
            invalid = self.invalid(inputs, action_masks)
            if invalid is not None:
                logits.masked_fill_(invalid, INVALID_LOGIT)
            log_probs = th.log_softmax(logits, dim=1)
            actions = logits.argmax(dim=1, keepdim=True) if deterministic else th.multinomial(log_probs.exp(), 1)
            return actions.squeeze(1), self.critic.forward(inputs)[0], log_probs.gather(1, actions).squeeze(1)


def lean_policy(policy: BasePolicy) -> LeanPolicy | None:
    """
    :param policy: A policy
    :return: Its networks; None unless it is SB3's MlpPolicy, sb3-contrib's maskable one, or one of ours made from them, with
        float32 parameters that are all trained, Tanh or ReLU, an observation of numbers (no image) and Discrete actions
    """
    if not isinstance(policy, (ActorCriticPolicy, MaskableActorCriticPolicy)) or not _computes_as_known(policy):
        return None
    masked = isinstance(policy, ObservationMaskMixin)
    networks: Any = policy  # torch types attributes that are modules as Tensor | Module
    extractor, action_net, value_net = networks.mlp_extractor, networks.action_net, networks.value_net
    if masked:
        extractor, action_net = extractor.extractor, action_net.action_net
    if type(extractor) is not MlpExtractor:
        return None
    actor_net, critic_net = list(extractor.policy_net), list(extractor.value_net)
    hidden = [*actor_net, *critic_net]
    kinds = {type(module) for module in hidden[1::2]} or {nn.Tanh}
    linear = [*actor_net[::2], action_net, *critic_net[::2], value_net]
    if len(kinds) > 1 or not kinds <= set(ACTIVATIONS) or any(type(module) is not nn.Linear for module in linear):
        return None
    parameters = [parameter for layer in linear for parameter in layer.parameters()]
    plain = all(parameter.requires_grad and parameter.dtype == th.float32 for parameter in parameters)
    if not plain or {id(parameter) for parameter in parameters} != {id(parameter) for parameter in policy.parameters()}:
        return None
    activation, n_actor = ACTIVATIONS[kinds.pop()], len(actor_net) // 2 + 1
    actor, critic = LeanNetwork(linear[:n_actor], activation), LeanNetwork(linear[n_actor:], activation)
    return LeanPolicy(actor, critic, masked, policy.features_extractor)


def _computes_as_known(policy: Any) -> bool:
    """Whether features, distribution and evaluation are those that :class:`LeanPolicy` repeats."""
    base = ActorCriticPolicy if isinstance(policy, ActorCriticPolicy) else MaskableActorCriticPolicy
    space = policy.observation_space
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in policy.modules())
    return (
        not hooked
        and all(getattr(type(policy), name) is getattr(base, name) for name in _EVALUATED)
        and type(policy.features_extractor) is FlattenExtractor
        and policy.share_features_extractor
        and isinstance(space, spaces.Box)
        and not (policy.normalize_images and is_image_space(space))
        and type(policy.action_dist) in (CategoricalDistribution, MaskableCategoricalDistribution)
    )
