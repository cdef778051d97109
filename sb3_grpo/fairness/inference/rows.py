"""Any result as one row of a table, which always says its unit, their number and the method."""

from collections.abc import Iterable
from dataclasses import dataclass

from sb3_grpo.fairness.inference.results import EPISODE, Estimate, Interval, Unit
from sb3_grpo.fairness.inference.significance import SignificanceTest

HEADER = ("result", "estimate", "interval", "p", "unit", "n", "method")


@dataclass(frozen=True)
class TableRow:
    """One number as it stands in a table.

    :param label: what it is
    :param value: the estimate; NaN if it is insufficient
    :param low: lower limit; NaN without an interval
    :param high: upper limit
    :param p_value: NaN where nothing is tested
    :param unit: what was drawn independently
    :param n: number of units, of each sample where there are several
    :param method: how interval or p value were obtained
    :param confidence: of the interval
    """

    label: str
    value: float
    low: float
    high: float
    p_value: float
    unit: Unit
    n: tuple[int, ...]
    method: str
    confidence: float

    def cells(self, decimals: int = 3) -> tuple[str, ...]:
        """The row in words, in the order of :data:`HEADER`."""
        there, bounded = self.value == self.value, self.low == self.low
        level = f"{self.confidence:.0%}".replace("%", " %")
        return (
            self.label,
            f"{self.value:.{decimals}f}" if there else "insufficient",
            f"{self.low:.{decimals}f} to {self.high:.{decimals}f} ({level})" if bounded else "none",
            "" if self.p_value != self.p_value else "<0.001" if self.p_value < 0.001 else f"{self.p_value:.3f}",
            self.unit,
            " + ".join(str(n) for n in self.n),
            self.method,
        )


def table_row(
    label: str, result: Interval | Estimate | SignificanceTest, n: int | None = None, confidence: float | None = None
) -> TableRow:
    """The row of a result.

    :param label: what it is
    :param result: any result of this package
    :param n: number of episodes, for an :class:`Estimate`, which does not know it
    :param confidence: of an :class:`Estimate`
    :raises ValueError: if an estimate comes without them
    """
    nan = float("nan")
    if isinstance(result, SignificanceTest):
        limits = result.interval
        return TableRow(
            label, result.difference, limits.low, limits.high, result.p_value, result.unit, result.n, result.method,
            limits.confidence,
        )  # fmt: skip
    if isinstance(result, Interval):
        return TableRow(
            label, result.value, result.low, result.high, nan, result.unit, (result.n,), result.method, result.confidence
        )
    if n is None or confidence is None:
        raise ValueError(f"n, confidence: got {n}, {confidence}, expected those of the comparison that the estimate is from")
    return TableRow(label, result.value, result.low, result.high, nan, EPISODE, (n,), result.method, confidence)


def markdown_table(rows: Iterable[TableRow], decimals: int = 3) -> str:
    """Rows as a Markdown table.

    :param rows: the rows
    :param decimals: of the numbers
    """
    lines = [HEADER, ("---",) * len(HEADER), *(row.cells(decimals) for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
