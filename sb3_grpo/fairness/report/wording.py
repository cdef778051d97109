"""Numbers and names as the report writes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from sb3_grpo.fairness.inference.results import Interval

MINUS: Final = "\N{MINUS SIGN}"
ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_LONGEST_NAME: Final = 26  # in charts, which have to fit on a phone


@dataclass(frozen=True)
class Scale:
    """How rates are written: shares in per cent and their changes in percentage points, other rates as plain numbers.

    :param share: whether rates are shares of something, in [0, 1]
    """

    share: bool

    def level(self, value: float) -> str:
        """A rate, or an efficiency."""
        if np.isnan(value):
            return "not known"
        return percent(value) if self.share else number(value)

    def change(self, value: float) -> str:
        """A difference of two rates, with its sign."""
        if np.isnan(value):
            return "not known"
        return f"{signed(100 * value, 1)} points" if self.share else signed(value, 3)

    def limits(self, interval: Interval, change: bool = False) -> str:
        """The limits of an interval, "86.4 to 89.7"; why there are none, if there are none."""
        if np.isnan(interval.low):
            return "no interval: one episode" if interval.n < 2 else "no interval"
        low, high = (100 * limit if self.share else limit for limit in (interval.low, interval.high))
        digits = 1 if self.share else 3
        if change:
            return f"{signed(low, digits)} to {signed(high, digits)}"
        return f"{plain(low, digits)} to {plain(high, digits)}"

    def with_limits(self, interval: Interval, change: bool = False) -> str:
        """A number and its interval in brackets."""
        value = self.change(interval.value) if change else self.level(interval.value)
        return value if np.isnan(interval.value) else f"{value} ({self.limits(interval, change)})"


def plain(value: float, digits: int) -> str:
    """A number with a real minus sign; what rounds to 0 has none."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    """A number with its sign; what rounds to 0 has none."""
    text = plain(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def number(value: float) -> str:
    """A plain number of three significant digits, or more before the point."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
        return plain(value, digits)
    return f"{value:.3g}".replace("-", MINUS)


def percent(value: float, digits: int = 1) -> str:
    """A share in per cent."""
    return "not known" if np.isnan(value) else f"{plain(100 * value, digits)} %"


def hours(value: float) -> str:
    """A time in hours."""
    return "not known" if np.isnan(value) else f"{plain(value, 1)} h"


def p_value(value: float) -> str:
    """A p value; never 0."""
    if np.isnan(value):
        return "not known"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def insufficient(n: int) -> str:
    """What stands in the place of a number of too few patients."""
    return f"insufficient (n={n})"


def listing(items: Iterable[str]) -> str:
    """Some names as text: "a", "a and b", "a, b and c"."""
    names = list(items)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name cut to what a chart has room for."""
    return name if len(name) <= longest else name[: longest - 1].rstrip() + ELLIPSIS


def level_text(confidence: float) -> str:
    """A confidence level, "95 %"."""
    return f"{100 * confidence:g} %"


def capital(name: str) -> str:
    """The same with a capital in front."""
    return name[:1].upper() + name[1:]
