"""Advantages by group, and their combination into the one advantage that PPO's loss consumes. Pure functions of arrays.

T is the number of steps of a rollout, N of environments, G of groups.
"""

import numpy as np


def elapsed_discounts(elapsed: np.ndarray, discount_time: float) -> np.ndarray:
    """
    Discount of what follows a step that took ``elapsed`` time: exp(-elapsed / discount_time).

    :param elapsed: Simulated time between a decision and the next, at least 0, any shape
    :param discount_time: Time after which the future counts 1/e, in the same unit
    :return: Discounts in [0, 1], same shape, float32
    """
    return np.exp(-np.asarray(elapsed) / discount_time).astype(np.float32)


def group_gae(
    rewards: np.ndarray,
    values: np.ndarray,
    last_values: np.ndarray,
    episode_starts: np.ndarray,
    dones: np.ndarray,
    discounts: np.ndarray | float,
    gae_lambda: float,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Generalized Advantage Estimation (https://arxiv.org/abs/1506.02438) for each group, with a discount per step.

    Step t earns r_t and takes the time between decision t and decision t+1, so its own discount gamma_t applies to everything
    from decision t+1 on: delta_t = r_t + gamma_t V(s_{t+1}) - V(s_t) and A_t = delta_t + gamma_t lambda A_{t+1}.
    Nothing flows across the end of an episode; where a time limit ended it, the caller adds gamma_t V(terminal state) to r_t.

    :param rewards: Rewards of each group, (T, N, G)
    :param values: Values of each group at each decision, (T, N, G)
    :param last_values: Values of each group at the decision after the last step, (N, G)
    :param episode_starts: Whether decision t is the first of an episode, (T, N)
    :param dones: Whether the last step ended an episode, (N,)
    :param discounts: gamma_t, (T, N), or one number for all steps
    :param gae_lambda: Trade-off of bias (0) against variance (1)
    :return: Advantages and lambda-returns of each group, both (T, N, G) float32
    """
    n_steps, n_envs, _ = rewards.shape
    discounts = np.broadcast_to(np.asarray(discounts, dtype=np.float32), (n_steps, n_envs))
    continues = np.empty((n_steps, n_envs), dtype=np.float32)
    continues[:-1] = 1.0 - episode_starts[1:]
    continues[-1] = 1.0 - np.asarray(dones, dtype=np.float32)
    carry = (discounts * continues)[..., None]

    next_values = np.concatenate([values[1:], last_values[None]])
    deltas = rewards + carry * next_values - values
    decay = gae_lambda * carry
    advantages = np.empty_like(deltas, dtype=np.float32)
    running = np.zeros_like(deltas[0])
    for step in reversed(range(n_steps)):
        running = deltas[step] + decay[step] * running
        advantages[step] = running
    return advantages, advantages + values


def combination_weights(coefficients: np.ndarray, shares: np.ndarray, lam: float, cap: float = 10.0) -> np.ndarray:
    """
    Weight of each group's advantage: w_g = (1 - lam) + lam c_g / p_g.

    With z_g = U_g / B_g and p_g = B_g / sum(B), the sum of w_g A_g is the advantage of
    (1 - lam) sum(U) + lam sum(B) sum(c z), the average and the objective in the same unit.
    So lam = 0, c = p or a single group give SB3's advantage.

    :param coefficients: c of the objective, (G,)
    :param shares: p, the share of each group in the exposure, (G,)
    :param lam: Trade-off between average (0) and objective (1)
    :param cap: Largest absolute value of c_g / p_g, so that a very rare group cannot rule the update
    :return: w, (G,) float64
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(coefficients == 0, 0.0, np.clip(coefficients / shares, -cap, cap))
    return (1.0 - lam) + lam * relative


def combine_advantages(advantages: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """
    A = sum_g w_g A_g. Combine first and standardise afterwards: a standardisation per group would replace w_g by w_g / std_g.

    :param advantages: Advantages of each group, (T, N, G)
    :param weights: w, (G,)
    :return: (T, N) float32
    """
    return advantages @ np.asarray(weights, dtype=np.float32)


def effective_sample_size(units: np.ndarray, weights: np.ndarray) -> float:
    """
    How many units of equal weight would tell as much: (sum_g n_g w_g)^2 / sum_g n_g w_g^2.

    :param units: Units of each group, n, (G,)
    :param weights: Weight of each group, w, (G,); of either sign
    :return: From 0 (nothing but noise) to the number of units; 0 if all weights are 0
    """
    total, largest = float(np.sum(units)), float(np.max(np.abs(weights), initial=0.0))
    if total == 0.0 or largest == 0.0:
        return 0.0
    shares, relative = units / total, weights / largest  # so that no square underflows
    squares = float(np.sum(shares * relative**2))
    return total * float(np.sum(shares * relative)) ** 2 / squares if squares > 0 else 0.0
