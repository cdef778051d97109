"""Checks of arguments, used wherever the same thing is accepted."""

from collections.abc import Sequence
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


def checked_names(names: Any) -> tuple[str, ...]:
    """
    :param names: Names of groups
    :return: The names
    :raises ValueError: If they are no sequence of distinct, non-empty strings
    """
    is_sequence = isinstance(names, Sequence) and not isinstance(names, (str, bytes))
    if not is_sequence or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"`group_names` must be a sequence of non-empty strings, got {names!r}")
    if len(names) == 0 or len(set(names)) < len(names):
        raise ValueError(f"`group_names` must hold at least one name, and none twice, got {names!r}")
    return tuple(names)
