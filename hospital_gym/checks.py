"""Checks that more than one environment makes."""

from typing import Any, Final

import numpy as np

MOST: Final = 2**31 - 1
"""Records hold the number of an episode as a 32-bit integer."""


def check_whole(key: str, value: Any, least: int, most: int | None = MOST) -> None:
    """Refuse what is not a whole number in range.

    :param key: what it is called
    :param value: anything
    :param least: least accepted number
    :param most: largest accepted number; None for no limit
    :raises ValueError: naming the key, the value and what is accepted
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        upper = "" if most is None else f" and <= {most}"
        raise ValueError(f"{key}: got {value!r}, expected a whole number >= {least}{upper}")
