"""Advantages of several answers to one case, compared with each other. Pure functions of NumPy arrays or torch tensors.

C is the number of cases, R of answers to each.
"""

from typing import Final, TypeVar

import numpy as np
import torch as th

Rewards = TypeVar("Rewards", np.ndarray, th.Tensor)

#: How the advantage of an answer is measured
ADVANTAGES: Final = ("grpo", "dr_grpo", "rloo")

#: What is added to a deviation before something is divided by it
EPSILON: Final = 1e-6

#: Rewards of a case that differ by no more than this share of the largest of them differ by rounding
_ROUNDING: Final = 1e-6


def group_relative_advantages(rewards: Rewards, advantage: str = "grpo") -> Rewards:
    """
    What each answer earned beyond the other answers to the same case.

    =============  ===================================================================================================
    ``"grpo"``     (r - mean) / (deviation + 1e-6), https://arxiv.org/abs/2402.03300
    ``"dr_grpo"``  r - mean: without the deviation, which favours cases that are nearly always answered alike,
                   https://arxiv.org/abs/2503.20783
    ``"rloo"``     r - mean of the *other* answers = R / (R - 1) (r - mean), https://arxiv.org/abs/2402.14740
    =============  ===================================================================================================

    Mean and deviation (with R - 1 in the denominator) are those of the case. Where all answers earned the same, up to
    rounding, every advantage is exactly 0: a deviation of 1e-9 would make noise as large as any signal.

    :param rewards: Rewards, (C, R), R at least 2
    :param advantage: One of :data:`ADVANTAGES`
    :return: Advantages, (C, R), of the same kind and dtype; no gradient flows through them
    :raises ValueError: If rewards are not finite or have another shape, or the name is unknown
    """
    if advantage not in ADVANTAGES:
        raise ValueError(f"`advantage` must be one of {ADVANTAGES}, got {advantage!r}")
    array = as_rewards(rewards)
    centred = array - array.mean(axis=1, keepdims=True)
    if advantage == "grpo":
        centred /= array.std(axis=1, ddof=1, keepdims=True) + EPSILON
    elif advantage == "rloo":
        centred *= array.shape[1] / (array.shape[1] - 1)
    centred[uniform_cases(array)] = 0.0
    return like(centred, rewards)


def uniform_cases(rewards: np.ndarray) -> np.ndarray:
    """
    :param rewards: Rewards, (C, R)
    :return: Whether all answers to a case earned the same, up to rounding, (C,) bool: nothing is to be learnt from it
    """
    return np.ptp(rewards, axis=1) <= _ROUNDING * np.abs(rewards).max(axis=1)


def as_rewards(rewards: np.ndarray | th.Tensor) -> np.ndarray:
    """
    :param rewards: Rewards of R answers to each of C cases, (C, R)
    :return: The same, float64
    :raises ValueError: If they are not finite, or have another shape
    """
    array = as_array(rewards).astype(np.float64)
    if array.ndim != 2 or not len(array) or array.shape[1] < 2:
        raise ValueError(
            f"`rewards` must have shape (cases, answers), with at least one case and two answers to each, got {array.shape}"
        )
    if not np.isfinite(array).all():
        case, answer = (int(place) for place in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"`rewards` must be finite, got {array[case, answer]} for answer {answer} to case {case}")
    return array


def as_array(values: np.ndarray | th.Tensor) -> np.ndarray:
    """
    :param values: Array or tensor, on any device
    :return: The same numbers as an array
    """
    return values.detach().cpu().numpy() if isinstance(values, th.Tensor) else np.asarray(values)


def like(values: np.ndarray, template: Rewards) -> Rewards:
    """
    :param values: Numbers
    :param template: Array or tensor
    :return: The numbers as an array or tensor of its dtype (float32 if that is no floating type), where it is
    """
    if isinstance(template, th.Tensor):
        dtype = template.dtype if template.is_floating_point() else th.float32
        return th.as_tensor(values, dtype=dtype, device=template.device)
    return values.astype(template.dtype if np.asarray(template).dtype.kind == "f" else np.float32)
