"""A policy that is kept as it was, in a form that is saved with a model."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy


class FrozenPolicy(NamedTuple):
    """
    Made with :func:`freeze`; :func:`thaw` makes a policy of it.

    :param policy_class: Class of the policy
    :param arguments: Of its constructor
    :param state: Its parameters and buffers by name, as arrays: files with them can be loaded on any device
    """

    policy_class: type[BasePolicy]
    arguments: dict[str, Any]
    state: dict[str, np.ndarray]


def freeze(policy: BasePolicy) -> FrozenPolicy:
    """
    :param policy: A policy
    :return: What it is now
    """
    state = {name: tensor.detach().cpu().numpy().copy() for name, tensor in policy.state_dict().items()}
    return FrozenPolicy(type(policy), policy._get_constructor_parameters(), state)


def thaw(frozen: FrozenPolicy, device: th.device) -> Any:
    """
    :param frozen: A policy as it was
    :param device: Where to put it
    :return: The policy, which does not learn
    """
    with th.random.fork_rng(devices=[]):  # its initialisation must not shift what is drawn in training
        policy = frozen.policy_class(**frozen.arguments).to(device)
    policy.load_state_dict({name: th.as_tensor(array, device=device) for name, array in frozen.state.items()})
    policy.set_training_mode(False)
    return policy.requires_grad_(False)
