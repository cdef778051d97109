"""Let a policy learn to act as another does: from what that one did, by maximum likelihood."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_grpo.common.loop_savings import distributions_unchecked

Policy = ActorCriticPolicy | MaskableActorCriticPolicy


class Demonstrations(NamedTuple):
    """
    What somebody did in n situations.

    :param observations: What the policy would have seen, (n, ...)
    :param actions: What was done, (n, ...)
    :param masks: Which actions were valid, (n, A), for a policy that is told; else None
    """

    observations: np.ndarray
    actions: np.ndarray
    masks: np.ndarray | None


def imitate(
    policy: Policy,
    shown: Demonstrations,
    n_epochs: int,
    batch_size: int,
    learning_rate: float,
    generator: np.random.Generator,
) -> float:
    """
    Maximise the likelihood of the demonstrated actions with Adam; what only the values depend on stays as it is.

    This is behavioural cloning (Pomerleau, Neural Computation 3, 1991).

    :param policy: The policy, changed in place; it must not be recurrent
    :param shown: The demonstrations
    :param n_epochs: How often each is used
    :param batch_size: How many make a step
    :param learning_rate: Learning rate at the start; it falls linearly to 0
    :param generator: Draws the order
    :return: Mean of -log p(action) in the last epoch, in nats
    """
    optimizer = th.optim.Adam(policy.parameters(), lr=learning_rate)
    n_samples, step = len(shown.actions), 0
    n_steps = n_epochs * -(-n_samples // batch_size)
    losses: list[th.Tensor] = []
    policy.set_training_mode(True)
    with distributions_unchecked(True):
        for _ in range(n_epochs):
            losses.clear()
            order = generator.permutation(n_samples)
            for start in range(0, n_samples, batch_size):
                optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / n_steps)
                loss = _loss(policy, shown, order[start : start + batch_size])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                losses.append(loss.detach())
    policy.set_training_mode(False)
    optimizer.zero_grad()
    return float(th.stack(losses).mean())


def acting_parameters(policy: Policy, observations: np.ndarray) -> list[th.nn.Parameter]:
    """
    The parameters that the actions depend on; all others are the critic's alone.

    :param policy: The policy; its gradients are set to None
    :param observations: Any observations, (n, ...)
    """
    policy.zero_grad()
    distribution = policy.get_distribution(policy.obs_to_tensor(observations)[0])
    # The most likely actions: drawing some would shift the random numbers of the training
    distribution.log_prob(distribution.get_actions(deterministic=True)).sum().backward()
    acting = [parameter for parameter in policy.parameters() if parameter.grad is not None]
    policy.zero_grad()
    return acting


def _loss(policy: Policy, shown: Demonstrations, chosen: np.ndarray) -> th.Tensor:
    observations, _ = policy.obs_to_tensor(shown.observations[chosen])
    actions = th.as_tensor(shown.actions[chosen], device=policy.device)
    if isinstance(policy, MaskableActorCriticPolicy):
        masks: Any = None if shown.masks is None else shown.masks[chosen]
        return -policy.get_distribution(observations, masks).log_prob(actions).mean()
    return -policy.get_distribution(observations).log_prob(actions).mean()
