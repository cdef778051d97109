"""Numbers and tables as Markdown."""

from collections.abc import Iterable, Sequence

import numpy as np

from sb3_grpo.fairness.inference import Interval, SignificanceTest
from sb3_grpo.fairness.report.wording import p_value, percent, plain, signed

NOTHING = "n/a"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(columns), ["---"] * len(columns), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def number(value: float, digits: int = 3) -> str:
    """A number, ``n/a`` if there is none."""
    return NOTHING if not np.isfinite(value) else plain(value, digits)


def interval(of: Interval, digits: int = 3, sign: bool = False) -> str:
    """A number and its interval in brackets."""
    form = signed if sign else plain
    if not np.isfinite(of.value):
        return NOTHING
    if not np.isfinite(of.low):
        return form(of.value, digits)
    return f"{form(of.value, digits)} ({form(of.low, digits)} to {form(of.high, digits)})"


def share(of: Interval, digits: int = 1) -> str:
    """The same in per cent."""
    if not np.isfinite(of.value):
        return NOTHING
    if not np.isfinite(of.low):
        return percent(of.value, digits)
    return f"{plain(100 * of.value, digits)} % ({plain(100 * of.low, digits)} to {plain(100 * of.high, digits)})"


def change(test: SignificanceTest, digits: int = 3) -> str:
    """A difference and its interval in brackets."""
    return interval(test.interval, digits, sign=True)


def p(value: float) -> str:
    """A p value."""
    return NOTHING if np.isnan(value) else p_value(value)
