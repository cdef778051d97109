"""Treatment success against a reference group, with an interval."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import stats

from sb3_grpo.fairness.accumulate import Counts

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]


def relative_risks(
    counts: Counts, rates: "pd.Series", reference: str | None = None, confidence: float = 0.95
) -> "pd.DataFrame":
    """Ratio of each group's success rate to the reference group's.

    With two or more episodes the unit is the episode: the variance of the log ratio is that of the episodes' contributions
    to it (linearisation), with t quantiles. With one, scipy's interval for independent patients is given (Katz et al.,
    Biometrics 34, 1978), which is too narrow where patients share beds and nurses, and the unit says so.

    :param counts: what was counted
    :param rates: success rate by group, NaN where insufficient
    :param reference: name of the reference group; default: the one with the most patients whose end is known
    :param confidence: confidence level
    :return: one row per group: ``relative_risk``, ``low``, ``high`` (NaN where insufficient); ``attrs`` hold
        ``reference``, ``unit`` and ``confidence``
    :raises ValueError: if the reference is no group
    """
    import pandas as pd

    if reference is not None and reference not in rates.index:
        raise ValueError(f"reference: got {reference!r}, expected one of {list(rates.index)}")
    sums = counts.sums.groupby(level=["episode", "group"])[["success", "finished"]].sum()
    success, finished = (sums[name].unstack("group", fill_value=0) for name in ("success", "finished"))
    if reference is None and len(finished):
        reference = str(finished.sum().idxmax())
    unit = "episode" if len(finished) > 1 else "patient"
    rows = {}
    for group in rates.index:
        row = (np.nan, np.nan, np.nan)
        if reference is not None and np.isfinite(rates[group]) and np.isfinite(rates[reference]):
            exposed, control = (
                np.column_stack([success[name].to_numpy(), finished[name].to_numpy()]) for name in (group, reference)
            )
            if group == reference:
                row = (1.0, 1.0, 1.0)
            elif len(finished) > 1:
                row = _of_episodes(exposed, control, confidence)
            else:
                row = _of_patients(exposed[0], control[0], confidence)
        rows[group] = row
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["relative_risk", "low", "high"])
    table.attrs = {"reference": reference, "unit": unit, "confidence": confidence}
    return table


def _of_episodes(exposed: FloatArray, control: FloatArray, confidence: float) -> tuple[float, float, float]:
    """Ratio and interval from successes and patients by episode, (E, 2) each."""
    rates = [arm[:, 0].sum() / arm[:, 1].sum() for arm in (exposed, control)]
    if min(rates) <= 0:
        return (rates[0] / rates[1] if rates[1] > 0 else np.nan, np.nan, np.nan)
    parts = [(arm[:, 0] - rate * arm[:, 1]) / arm[:, 0].sum() for arm, rate in zip((exposed, control), rates, strict=True)]
    influence = parts[0] - parts[1]
    n = len(influence)
    error = float(np.sqrt(n / (n - 1) * (influence**2).sum()))
    reach = np.exp(stats.t.ppf((1 + confidence) / 2, n - 1) * error)
    ratio = float(rates[0] / rates[1])
    return ratio, float(ratio / reach), float(ratio * reach)


def _of_patients(exposed: FloatArray, control: FloatArray, confidence: float) -> tuple[float, float, float]:
    result = stats.contingency.relative_risk(*(int(number) for number in (*exposed, *control)))
    interval = result.confidence_interval(confidence)
    return float(result.relative_risk), float(interval.low), float(interval.high)
