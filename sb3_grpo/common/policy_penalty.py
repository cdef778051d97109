"""A differentiable penalty on the policy, where SB3's ``train()`` already adds one: the entropy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch as th
from stable_baselines3.common.distributions import Distribution, kl_divergence, sum_independent_dims
from stable_baselines3.common.policies import ActorCriticPolicy

#: Of the observations of a minibatch, after the policy has evaluated them: penalty of each, (n,)
Penalty = Callable[[Any], th.Tensor]


@contextmanager
def penalised(model: Any, penalty: Penalty, coefficient: float, key: str) -> Iterator[None]:
    """
    Inside the block ``train()`` minimises PPO's loss plus ``coefficient`` times the mean penalty.

    SB3's loss is ... + ent_coef * -mean(entropy), with the entropy that ``policy.evaluate_actions()`` returns. Inside the
    block that method returns ent_coef * entropy - coefficient * penalty, and ``ent_coef`` is 1. What is logged is put right
    afterwards.

    :param model: An algorithm of SB3 with such a loss
    :param penalty: The penalty
    :param coefficient: Its weight in the loss
    :param key: What its mean is logged as
    """
    policy, ent_coef = model.policy, model.ent_coef
    evaluate = policy.evaluate_actions
    entropies: list[float] = []
    penalties: list[float] = []

    def evaluate_actions(obs: Any, actions: th.Tensor, **kwargs: Any) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        values, log_prob, entropy = evaluate(obs, actions, **kwargs)
        entropy = -log_prob if entropy is None else entropy  # as SB3 does where there is no analytical form
        costs = penalty(obs)
        entropies.append(entropy.mean().item())
        penalties.append(costs.mean().item())
        return values, log_prob, ent_coef * entropy - coefficient * costs

    policy.evaluate_actions, model.ent_coef = evaluate_actions, 1.0
    try:
        yield
    finally:
        del policy.evaluate_actions
        model.ent_coef = ent_coef
    model.logger.record("train/entropy_loss", -sum(entropies) / len(entropies))
    model.logger.record(key, sum(penalties) / len(penalties))


def divergence_from(reference: ActorCriticPolicy, policy: ActorCriticPolicy) -> Penalty:
    """
    Kullback-Leibler divergence of the policy from a reference, KL(policy || reference), exactly.

    :param reference: A policy with the same kind of actions, which is not trained
    :param policy: The policy. It has just evaluated the observations, and keeps the distribution
    :return: The penalty
    """

    def penalty(obs: Any) -> th.Tensor:
        with th.no_grad():
            target = reference.get_distribution(obs)
        return divergence(policy.action_dist, target)

    return penalty


def divergence(distribution: Distribution, reference: Distribution) -> th.Tensor:
    """
    :param distribution: Distribution of actions
    :param reference: Another one of the same kind
    :return: KL(distribution || reference) for each observation, (n,)
    """
    kl = kl_divergence(distribution, reference)
    return kl if kl.ndim == 1 else sum_independent_dims(kl)
