"""Groups compared at the same severity, and whether that changes who is worse off.

Direct standardisation: a group's value in each stratum, weighted with a mix of strata that is the same for all groups,
``z_g = sum_k pi_k z_gk``. Groups whose patients are sicker are then not taken for worse treated (or better).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from sb3_grpo.fairness.accumulate import Counts
from sb3_grpo.fairness.metrics.definitions import DEFINITIONS, STANDARDISED
from sb3_grpo.fairness.metrics.measure import Measured, measure

if TYPE_CHECKING:
    import pandas as pd

MIN_CELL: Final = 10
"""A stratum of a group with fewer patients than this is too small to be weighted with the common mix."""

TIE: Final = {"share": 0.005, "hours": 0.1}
"""Differences smaller than this (half a percentage point, six minutes) do not order two groups."""

_SIMPSON: Final = ("benefit_rate", "in_time", "success", "wait_mean")


@dataclass(frozen=True, eq=False)
class Standardised:
    """Metrics at a common mix of strata.

    :param column: column whose values are the strata
    :param values: one row per group, NaN for groups that cannot be compared
    :param mix: shares of the strata, one column for each kind of weight
    :param cells: number of patients by group (rows) and stratum
    :param not_compared: for each sufficient group that cannot be compared, why
    """

    column: str
    values: "pd.DataFrame"
    mix: "pd.DataFrame"
    cells: "pd.DataFrame"
    not_compared: dict[str, str]


def standardise(counts: Counts, groups: Measured, min_cell: int = MIN_CELL) -> Standardised | None:
    """Standardise every metric of :data:`~sb3_grpo.fairness.metrics.definitions.STANDARDISED`.

    The rule for empty cells: a stratum is *shared* if at least two sufficient groups have ``min_cell`` patients in it, and
    only shared strata are compared. A group that has fewer than ``min_cell`` in any of them is not compared; nothing is put
    in the place of what was not observed. The common mix is that of all patients of the groups that are compared.

    :param counts: what was counted
    :param groups: the groups' metrics as they are, NaN for insufficient ones
    :param min_cell: least number of patients of a group in a stratum
    :return: the standardised metrics; None without strata or with fewer than two groups to compare
    """
    import pandas as pd

    if counts.strata is None:
        return None
    strata = list(counts.sums.index.get_level_values("stratum").unique())
    index = pd.MultiIndex.from_product([counts.groups, strata], names=["group", "stratum"])
    sums = counts.sums.groupby(level=["group", "stratum"]).sum().reindex(index, fill_value=0.0)
    cells = sums["n"].unstack("stratum").reindex(index=list(counts.groups), columns=strata).astype(np.int64)
    sufficient = groups.values.notna().any(axis=1)
    large = cells[sufficient.loc[cells.index]] >= min_cell
    shared = [stratum for stratum in strata if large[stratum].sum() >= 2]
    compared = [str(group) for group in large.index[large[shared].all(axis=1)]] if shared else []
    if len(compared) < 2:
        return None
    cell_values = measure(counts, ["group", "stratum"], index).values
    values, mixes = {}, {}
    for name, weight in STANDARDISED.items():
        if name not in cell_values or weight in counts.missing:
            continue
        total = sums[weight].unstack("stratum").loc[compared, shared].sum()
        mixes[weight] = total / total.sum() if total.sum() > 0 else total * np.nan
        by_cell = cell_values[name].unstack("stratum").loc[compared, shared]
        values[name] = (by_cell * mixes[weight]).sum(axis=1, skipna=False)
    lacking = {str(group): [stratum for stratum in shared if not large.loc[group, stratum]] for group in large.index}
    why = {
        group: ", ".join(f"{stratum} n={cells.loc[group, stratum]}" for stratum in few)
        for group, few in lacking.items()
        if few
    }
    table = pd.DataFrame(values, index=pd.Index(compared)).reindex(list(counts.groups))
    return Standardised(counts.strata, table, pd.DataFrame(mixes), cells, why)


def simpson_messages(raw: "pd.DataFrame", standardised: Standardised) -> list[str]:
    """One sentence for each metric by which two groups change places when compared at equal strata.

    The pair named is the one with the clearest reversal; differences below :data:`TIE` are ties. Sampling error is not looked
    at: whether a reversal is more than chance is for the intervals to say.

    :param raw: the groups' metrics as they are
    :param standardised: the same at a common mix
    """
    messages = []
    for name in _SIMPSON:
        if name not in standardised.values:
            continue
        adjusted, better = standardised.values[name].dropna(), DEFINITIONS[name].better
        as_is, tie = raw[name].loc[adjusted.index], TIE[DEFINITIONS[name].unit]
        reversed_pairs = []
        for a, b in combinations(adjusted.index, 2):
            before, after = as_is[a] - as_is[b], adjusted[a] - adjusted[b]
            if min(abs(before), abs(after)) >= tie and before * after < 0:
                behind, ahead = (a, b) if before * better < 0 else (b, a)
                reversed_pairs.append((min(abs(before), abs(after)), behind, ahead))
        if not reversed_pairs:
            continue
        _, behind, ahead = max(reversed_pairs, key=lambda pair: pair[0])
        more = f" ({len(reversed_pairs) - 1} more pairs change places)" if len(reversed_pairs) > 1 else ""
        messages.append(
            f"{name}: {behind} does worse than {ahead} as recorded ({_number(as_is[behind])} against "
            f"{_number(as_is[ahead])}) but better at equal {standardised.column} ({_number(adjusted[behind])} against "
            f"{_number(adjusted[ahead])}): the order depends on who is sicker{more}."
        )
    return messages


def _number(value: float) -> str:
    return f"{value:.3g}"
