"""Let a policy learn to act as another does: from what that one did, by maximum likelihood."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_grpo.common.loop_savings import distributions_unchecked


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


class Likeness(NamedTuple):
    """
    How much a policy acts like the demonstrations it learned from, in the last epoch.

    :param loss: Mean of -log p(action), in nats
    :param parameters: The parameters that the actions depend on; all others are the critic's alone
    """

    loss: float
    parameters: list[th.nn.Parameter]


def imitate(
    policy: ActorCriticPolicy | MaskableActorCriticPolicy,
    shown: Demonstrations,
    n_epochs: int,
    batch_size: int,
    learning_rate: float,
    generator: np.random.Generator,
) -> Likeness:
    """
    Maximise the likelihood of the demonstrated actions with Adam; what only the values depend on stays as it is.

    This is behavioural cloning (Pomerleau, Neural Computation 3, 1991).

    :param policy: The policy, changed in place; it must not be recurrent
    :param shown: The demonstrations
    :param n_epochs: How often each is used
    :param batch_size: How many make a step
    :param learning_rate: Learning rate at the start; it falls linearly to 0
    :param generator: Draws the order
    :return: How well it went
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
    moved = [parameter for parameter in policy.parameters() if parameter.grad is not None]
    optimizer.zero_grad()
    return Likeness(float(th.stack(losses).mean()), moved)


def _loss(policy: ActorCriticPolicy | MaskableActorCriticPolicy, shown: Demonstrations, chosen: np.ndarray) -> th.Tensor:
    observations, _ = policy.obs_to_tensor(shown.observations[chosen])
    actions = th.as_tensor(shown.actions[chosen], device=policy.device)
    if isinstance(policy, MaskableActorCriticPolicy):
        masks: Any = None if shown.masks is None else shown.masks[chosen]
        return -policy.get_distribution(observations, masks).log_prob(actions).mean()
    return -policy.get_distribution(observations).log_prob(actions).mean()
