"""Draw a model's actions from streams of one's own, so that they depend neither on global state nor on the batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import (
    Distribution,
    SquashedDiagGaussianDistribution,
    StateDependentNoiseDistribution,
)


def action_distribution(model: BaseAlgorithm) -> Distribution | None:
    """
    :param model: A model
    :return: Where the model's policy keeps the distribution of its actions; None if it has none to draw from, as DQN or TD3,
        or if its noise is drawn elsewhere, as with gSDE
    """
    for module in (model.policy, getattr(model.policy, "actor", None)):
        distribution = getattr(module, "action_dist", None)
        if isinstance(distribution, Distribution) and not isinstance(distribution, StateDependentNoiseDistribution):
            return distribution
    return None


@contextmanager
def draws_from(distribution: Distribution, generators: Sequence[np.random.Generator]) -> Iterator[None]:
    """
    Inside the block the distribution's ``sample()`` draws row i from generator i. SB3's policies keep one such object, give it
    the parameters of each batch, and ask it for actions: so ``predict()`` stays as it is.

    :param distribution: The policy's distribution
    :param generators: One for each row of the batch
    """

    def sample() -> th.Tensor:
        return _sample(distribution, generators)

    distribution.sample = sample  # type: ignore[method-assign]
    try:
        yield
    finally:
        del distribution.sample


def _sample(distribution: Any, generators: Sequence[np.random.Generator]) -> th.Tensor:
    """
    :param distribution: Distribution of SB3 or sb3-contrib with the parameters of a batch
    :param generators: One for each row
    :return: Actions, (n, ...)
    """
    inner = getattr(distribution, "distributions", None) or distribution.distribution  # the first name: masked, several
    if isinstance(inner, list):
        return th.stack([_categories(part, generators) for part in inner], dim=1)
    if isinstance(inner, th.distributions.Categorical):
        return _categories(inner, generators)
    size = inner.mean.shape[1:]
    if isinstance(inner, th.distributions.Bernoulli):
        uniform = np.stack([generator.random(size) for generator in generators])
        return (th.as_tensor(uniform, device=inner.probs.device) < inner.probs).to(inner.probs.dtype)
    if not isinstance(inner, th.distributions.Normal):
        raise NotImplementedError(f"Cannot draw from {type(inner).__name__}")
    normal = np.stack([generator.standard_normal(size) for generator in generators])
    actions = inner.mean + inner.stddev * th.as_tensor(normal, dtype=inner.mean.dtype, device=inner.mean.device)
    return th.tanh(actions) if isinstance(distribution, SquashedDiagGaussianDistribution) else actions


def _categories(inner: th.distributions.Categorical, generators: Sequence[np.random.Generator]) -> th.Tensor:
    """By inversion: the first category at which the cumulative probability exceeds a uniform number; never one of zero."""
    cumulative = inner.probs.double().cumsum(dim=-1).cpu().numpy()
    uniform = np.array([generator.random() for generator in generators])
    chosen = (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(axis=-1)
    return th.as_tensor(chosen, device=inner.probs.device)
