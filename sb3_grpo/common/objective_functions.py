"""The mathematics of objectives: how much each group counts, c (G,), given how far each group is below a reference, e (G,).

Pure functions. Each is the gradient of the objective that its docstring states, by the performance z of the groups, with
e = (reference - z) / scale. Only differences between needs matter, so that a reference shared by all groups cancels.
"""

import numpy as np


def relative_need(
    performance: np.ndarray, reference: np.ndarray | float, scale: float, bound: float = float("inf")
) -> np.ndarray:
    """
    How far each group is below the reference, in units of ``scale`` and clipped to +-``bound``.

    :param performance: Performance of each group, (G,)
    :param reference: Performance at which a group is in no need, a number or (G,)
    :param scale: One unit of performance, positive
    :param bound: Largest absolute need
    :return: (G,); zero where performance, reference or scale is not known yet (NaN)
    """
    need = np.clip((reference - performance) / scale, -bound, bound)
    return np.where(np.isnan(need), 0.0, need)


def adversary_step(log_weights: np.ndarray, need: np.ndarray, eta: float, forgetting: float) -> np.ndarray:
    """
    One step of an adversary that moves weight to the groups in need, in log space:
    log q <- a (log p0 + eta * need) + (1 - a) log q, with p0 uniform.

    Under a constant need the weights converge to p0 exp(eta * need), the maximiser of sum_g q_g need_g minus KL(q, p0) / eta.
    The forgetting ``a`` is what keeps them from cycling and from becoming one-hot, as pure multiplicative weights do.

    :param log_weights: Logarithms of the current weights, (G,)
    :param need: Need of each group, (G,)
    :param eta: Inverse temperature, per unit of need
    :param forgetting: Share of the new target in the step, in (0, 1]
    :return: Logarithms of the new weights, (G,), normalised to sum 1
    """
    target = eta * need - np.log(len(need))
    mixed = forgetting * target + (1.0 - forgetting) * log_weights
    return mixed - np.logaddexp.reduce(mixed)


def raise_to_floor(weights: np.ndarray, floor: float) -> np.ndarray:
    """
    Project weights onto the part of the simplex where each is at least ``floor`` (in Kullback-Leibler divergence):
    the small ones become ``floor``, the others keep their proportions.

    :param weights: Weights with sum 1, at least 0, (G,)
    :param floor: Least weight, in [0, 1 / G]
    :return: (G,), sum 1
    """
    low = weights < floor
    while low.any() and not low.all():
        scaled = weights * (1.0 - floor * low.sum()) / weights[~low].sum()
        # Scaling down can push further weights below the floor
        if not (fallen := ~low & (scaled < floor)).any():
            return np.where(low, floor, scaled)
        low |= fallen
    return np.full_like(weights, 1.0 / len(weights)) if low.any() else weights


def softmin_coefficients(need: np.ndarray, temperature: float) -> np.ndarray:
    """
    Gradient of the soft minimum J(z) = -T scale log(mean_g exp(e_g / T)): c = softmax(e / T).

    :param need: Need of each group, e, (G,)
    :param temperature: T, in units of need: 0.01 is nearly the worst group, 100 nearly the plain mean of the groups
    :return: c, (G,): positive, sum 1
    """
    exponents = need / temperature
    weights = np.exp(exponents - exponents.max())
    return weights / weights.sum()


def cvar_coefficients(need: np.ndarray, shares: np.ndarray, alpha: float) -> np.ndarray:
    """
    Gradient of the conditional value at risk over the population, J(z) = -scale max over q of sum_g q_g e_g with sum q = 1
    and 0 <= q_g <= p_g / alpha: the mean of its worst share ``alpha``, of performance, or of performance less the baseline
    where groups have their own. The worst group fills up first, then the next. Groups in equal need share what is left in
    proportion to their size.

    :param need: Need of each group, (G,)
    :param shares: Share of each group in the population, p, (G,), sum 1
    :param alpha: Share of the population that counts, in (0, 1]: 1 is the average, small values the worst group
    :return: c = q, (G,): at least 0, sum 1
    """
    coefficients = np.zeros(len(need))
    left = alpha
    for level in np.unique(need)[::-1]:
        tied = need == level
        mass = shares[tied].sum()
        taken = min(left, mass)
        if taken > 0:
            coefficients[tied] = shares[tied] * (taken / mass)
            left -= taken
    return coefficients / coefficients.sum()


def gap_coefficients(need: np.ndarray, temperature: float, level_up_only: bool) -> np.ndarray:
    """
    Gradient of minus the soft gap, J(z) = softmin(z) - softmax(z), with softmax(z) = T scale log(mean_g exp(-e_g / T)):
    c = softmax(e / T) - softmax(-e / T). The second part pulls the best group down; ``level_up_only`` drops it.

    :param need: Need of each group, e, (G,)
    :param temperature: T, in units of need
    :param level_up_only: Whether to raise the worst groups only
    :return: c, (G,): sum 0, or with ``level_up_only`` those of :func:`softmin_coefficients`
    """
    up = softmin_coefficients(need, temperature)
    return up if level_up_only else up - softmin_coefficients(-need, temperature)


def max_loss_coefficients(mean_advantages: np.ndarray, shares: np.ndarray, step_shares: np.ndarray) -> np.ndarray:
    """
    The rule of the published code: all weight to the group with the largest mean loss of PPO, which at the start of an update
    is minus the mean advantage of the group's steps. Kept for comparison: a critic that knows the group makes this mean zero
    in every group, however the group fares, so that noise decides.

    :param mean_advantages: Mean advantage of each group's own steps in the rollout, (G,); NaN without steps
    :param shares: Share of each group in the exposure, p, (G,)
    :param step_shares: Share of each group in the steps of the rollout, (G,)
    :return: c, (G,), such that c / p is 1 / share of steps for the chosen group, and 0 for the others
    """
    coefficients = np.zeros(len(mean_advantages))
    if not np.isnan(mean_advantages).all():
        chosen = int(np.nanargmin(mean_advantages))
        coefficients[chosen] = shares[chosen] / step_shares[chosen]
    return coefficients
