"""Weights of cases by source and by group within their source. Pure functions: a trainer of language models can call them.

C is the number of cases of a rollout, R of answers to each, S of sources, G of groups. Ids -1 stand for no group.
"""

from typing import Any

import numpy as np
import torch as th

from sb3_grpo.fair_grpo.advantages import EPSILON, Rewards, as_array, group_relative_advantages, like
from sb3_grpo.fair_grpo.case_history import CaseHistory, as_ids, pooled_reward, shrunken_means


def corrected_cell_weights(
    history: CaseHistory,
    representation: float = 0.5,
    difficulty: float = 1.0,
    floor: float = 0.1,
    shrinkage: float = 20.0,
    reward_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """
    Weight of each group within each source, so that rare and hard ones count more.

    At both levels a weight is 1 / (p^x y^w), divided by its mean over the members of the level, with p the share of the cases,
    x = ``representation``, w = ``difficulty``, and y the success rate: where the mean reward lies between the lowest (0) and
    the highest reward (1), at least ``floor``. First the sources share, then the groups within each source: a source does not
    count more because it has more groups, or because one of them is hard beyond what makes the source hard.

    The mean over all cases is 1. All weights are positive, and neither adding a constant to all rewards nor multiplying them
    by a positive one changes them. x = w = 0 gives 1 everywhere; x = 1, w = 0 gives every source the same total weight, and
    every group the same within its source.

    :param history: What is known of sources and groups
    :param representation: Exponent of the share, at least 0
    :param difficulty: Exponent of the success rate, at least 0
    :param floor: Least success rate, in (0, 1]
    :param shrinkage: A source's mean reward is drawn to that of all, a group's to its source's, as if this many further cases
        had fared so
    :param reward_range: Lowest and highest possible reward; None: the extremes that occurred
    :return: (S, G + 1), the last column for cases of no group, who get their source's weight; 1 where there are no cases
    """
    cases, rewards = history["cases"], history["rewards"]
    source_cases = cases.sum(axis=1)
    source_means = shrunken_means(source_cases, rewards.sum(axis=1), pooled_reward(history), shrinkage)
    known_cases = cases[:, :-1]
    means = shrunken_means(known_cases, rewards[:, :-1], source_means[:, None], shrinkage)
    lowest, highest = history["extremes"] if reward_range is None else reward_range

    def level(numbers: np.ndarray, mean_rewards: np.ndarray) -> np.ndarray:
        return level_weights(numbers, success_rates(mean_rewards, lowest, highest, floor), representation, difficulty)

    weights = np.ones(cases.shape)
    for source in np.flatnonzero(source_cases):
        weights[source, :-1] = level(known_cases[source], means[source])
    return weights * level(source_cases, source_means)[:, None]


def success_rates(means: np.ndarray, lowest: float, highest: float, floor: float) -> np.ndarray:
    """
    :param means: Mean rewards, any shape
    :param lowest: Lowest reward
    :param highest: Highest reward
    :param floor: Least success rate
    :return: Where each mean lies between the two, in [floor, 1]; 1 if there is nothing between them
    """
    if not highest > lowest:
        return np.ones_like(means)
    return np.clip((means - lowest) / (highest - lowest), floor, 1.0)


def level_weights(cases: np.ndarray, success: np.ndarray, representation: float, difficulty: float) -> np.ndarray:
    """
    1 / (p^x y^w) divided by its mean over the cases.

    :param cases: Number of cases of each member of the level, (K,)
    :param success: Success rate y of each, (K,), in (0, 1]
    :param representation: Exponent x of the share p
    :param difficulty: Exponent w of the success rate
    :return: (K,); 1 for a member without cases
    """
    weights, seen = np.ones(len(cases)), cases > 0
    if seen.any():
        shares = cases[seen] / cases[seen].sum()
        raw = shares**-representation * success[seen] ** -difficulty
        weights[seen] = raw / (shares * raw).sum()
    return weights


def corrected_weights(
    history: CaseHistory, groups: Any = None, sources: Any = None, max_weight: float = 10.0, **kwargs: Any
) -> np.ndarray:
    """
    Weight of each case of a rollout: that of its cell, then capped, with mean 1 over the rollout.

    :param history: What is known of sources and groups, the rollout included (:func:`update_history`)
    :param groups: Group of each case, (C,), -1 for none; None: none has any
    :param sources: Source of each case, (C,); None: all come from one
    :param max_weight: Largest weight, at least 1
    :param kwargs: Parameters of :func:`corrected_cell_weights`
    :return: (C,) float64, positive
    :raises ValueError: If groups or sources are not what they must be
    """
    group_ids, source_ids = _both_ids(groups, sources)
    return capped_to_mean_one(corrected_cell_weights(history, **kwargs)[source_ids, group_ids], max_weight)


def capped_to_mean_one(weights: np.ndarray, cap: float) -> np.ndarray:
    """
    min(cap, c w) with the factor c for which the mean is 1.

    :param weights: Positive weights, (C,)
    :param cap: Largest weight, at least 1
    :return: (C,)
    """
    n, ordered = len(weights), np.sort(weights)[::-1]
    # With the k largest at the cap, the others share the rest: c = (n - k cap) / (sum of the others)
    rest = np.cumsum(ordered[::-1])[::-1]
    factors = (n - np.arange(n) * cap) / rest
    fits = factors * ordered <= cap * (1 + 1e-12)
    return np.minimum(cap, factors[np.argmax(fits)] * weights) if fits.any() else np.ones(n)


def published_weights(
    history: CaseHistory, advantages: np.ndarray | th.Tensor, groups: Any = None, sources: Any = None
) -> np.ndarray:
    """
    Weight of each case exactly as in FairGRPO's published code (https://arxiv.org/abs/2510.19893).

    With N_d cases of mean reward m_d so far from the case's source d, and N_g, m_g from its group there, advantages are
    divided by the factor max(sqrt(N_d) m_d, 1e-6) sqrt(N_g) m_g, except where that gives no finite number, and then by the
    standard deviation of all advantages of the rollout plus 1e-6. **To be used with care:**

    - A negative m_g reverses the sign: the policy learns to answer that group *worse*.
    - A source whose mean reward is not positive is divided by 1e-6 where others are divided by their number of cases: it takes
      the whole update.
    - Adding a constant to all rewards, which changes nothing about the problem, changes all weights.

    With rewards in (0, 1] and none of the means close to 0 it does what it is meant to do.

    :param history: All cases so far, this rollout included: :func:`update_history` with ``smoothing=0``
    :param advantages: Advantages before they are weighted, (C, R), of ``advantage="grpo"``
    :param groups: Group of each case, (C,), -1 for none; None: none has any
    :param sources: Source of each case, (C,); None: all come from one
    :return: (C,) float64, of either sign
    :raises ValueError: If groups or sources are not what they must be
    """
    array = as_array(advantages).astype(np.float64)
    group_ids, source_ids = _both_ids(groups, sources)
    cases, rewards = history["cases"], history["rewards"]
    with np.errstate(divide="ignore", invalid="ignore"):
        source_cases = cases.sum(axis=1)
        of_source = np.maximum(np.sqrt(source_cases) * (rewards.sum(axis=1) / source_cases), EPSILON)
        factors = of_source[:, None] * np.sqrt(cases) * (rewards / cases)
        scales = 1.0 / factors[source_ids, group_ids]
    scales[~np.isfinite(scales)] = 1.0
    return scales / (np.std(array * scales[:, None], ddof=1) + EPSILON)


def published_advantages(history: CaseHistory, rewards: Rewards, groups: Any = None, sources: Any = None) -> Rewards:
    """
    :param history: See :func:`published_weights`
    :param rewards: Rewards, (C, R)
    :param groups: Group of each case, (C,), -1 for none; None: none has any
    :param sources: Source of each case, (C,); None: all come from one
    :return: Advantages as FairGRPO's published code computes them, (C, R), of the same kind and dtype
    :raises ValueError: If rewards, groups or sources are not what they must be
    """
    array = as_array(rewards).astype(np.float64)
    advantages = group_relative_advantages(array)
    return like(advantages * published_weights(history, advantages, groups, sources)[:, None], rewards)


def resampling_weights(groups: Any, rng: np.random.Generator) -> np.ndarray:
    """
    How often each case is drawn if as many are drawn as there are, with replacement, every group as often as every other.

    :param groups: Group of each case, (C,); those of no group (-1) are one more group
    :param rng: Draws them
    :return: (C,) float64: whole numbers, mean 1
    :raises ValueError: If groups are no integers, at least -1
    """
    ids = as_ids("groups", groups, len(groups), -1)
    _, group, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    probabilities = 1.0 / (len(sizes) * sizes[group])
    return rng.multinomial(len(ids), probabilities / probabilities.sum()).astype(np.float64)


def _both_ids(groups: Any, sources: Any) -> tuple[np.ndarray, np.ndarray]:
    given = groups if groups is not None else sources
    if given is None:
        raise ValueError("Neither `groups` nor `sources` are given: there is nothing to weight cases by")
    return as_ids("groups", groups, len(given), -1), as_ids("sources", sources, len(given), 0)
