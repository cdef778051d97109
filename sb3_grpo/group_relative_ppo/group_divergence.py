"""How differently groups are treated: Kullback-Leibler divergence between the policies of groups, in closed form."""

import torch as th
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution

from sb3_grpo.common.policy_penalty import divergence


def divergence_from_groups(own: Distribution, references: list[Distribution], shares: th.Tensor) -> th.Tensor:
    """
    How far what a policy does for a group is from what it does for everybody, in nats.

    For one categorical action this is KL(own || mixture), with the mixture sum_g p_g pi_g of the groups' policies. The mixture
    of others, Gaussians among them, has no closed form: there it is the expectation of KL(own || pi_g) over g, in full, which
    is an upper bound of the first.

    :param own: Distribution of actions for the step's own group
    :param references: Distributions of actions for every group, of the same kind; constants in the gradient
    :param shares: Share of each group, p, (G,), sum 1
    :return: (n,)
    """
    if isinstance(own, CategoricalDistribution):
        log_own = own.distribution.logits
        each = th.stack([reference.distribution.logits for reference in references])  # type: ignore[union-attr]
        log_mixture = th.logsumexp(each + shares.log()[:, None, None], dim=0).detach()
        return (log_own.exp() * (log_own - log_mixture)).sum(dim=1)
    parts = th.stack([divergence(own, reference) for reference in references])
    return shares @ parts


def pairwise_divergence(distributions: list[Distribution]) -> th.Tensor:
    """
    :param distributions: Distributions of actions of every group, for the same n observations
    :return: Mean over observations of KL(pi_g || pi_h), (G, G): row g, column h
    """
    rows = [[divergence(first, second).mean() for second in distributions] for first in distributions]
    return th.stack([th.stack(row) for row in rows])
