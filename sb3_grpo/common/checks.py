"""Checks of arguments, used wherever the same thing is accepted."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    """
    :param value: Anything
    :return: Whether it is a finite real number (a bool is none)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(float(value)))


def is_positive(value: Any) -> bool:
    """
    :param value: Anything
    :return: Whether it is a positive, finite real number
    """
    return is_number(value) and bool(value > 0)


def check_whole(key: str, value: Any, least: int) -> None:
    """
    :param key: Name of the argument, for messages
    :param value: Anything
    :param least: Least accepted number
    :raises ValueError: If it is no whole number, or smaller
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{key}: got {value!r}, expected a whole number >= {least}")


def checked_names(names: Any, key: str = "group_names") -> tuple[str, ...]:
    """
    :param names: Names of groups
    :param key: Name of the argument, for messages
    :return: The names
    :raises ValueError: If they are no sequence of distinct, non-empty strings
    """
    is_sequence = isinstance(names, Sequence) and not isinstance(names, (str, bytes))
    if not is_sequence or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"`{key}` must be a sequence of non-empty strings, got {names!r}")
    if len(names) == 0 or len(set(names)) < len(names):
        raise ValueError(f"`{key}` must hold at least one name, and none twice, got {names!r}")
    return tuple(names)


def per_group(key: str, value: Any, names: Sequence[str] | None) -> float | np.ndarray | None:
    """
    :param key: Name of the argument, for messages
    :param value: A number for all groups, a mapping from each group's name to its number, or None
    :param names: Names of the groups, None if unknown
    :return: The number, or the groups' numbers in the order of their ids, (G,)
    :raises ValueError: If it is neither, a number is not finite, or the mapping's keys are not the groups' names
    """
    if value is None or is_number(value):
        return None if value is None else float(value)
    if not isinstance(value, Mapping) or not all(is_number(number) for number in value.values()):
        raise ValueError(f"`{key}` must be a finite number, or a dict with one for each group, got {value!r}")
    if names is None:
        raise ValueError(f"`{key}` is {value!r}, but nobody names the groups: pass `group_names=`")
    if set(value) != set(names):
        raise ValueError(f"`{key}` must hold a number for each of the groups {tuple(names)}, got {value!r}")
    return np.array([float(value[name]) for name in names])
