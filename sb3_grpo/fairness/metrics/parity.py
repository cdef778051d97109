"""How far apart the groups are: worst, best, gap, parity (by fairlearn), equity of waits."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.accumulate import Counts
from sb3_grpo.fairness.metrics.definitions import DEFINITIONS
from sb3_grpo.fairness.metrics.measure import Measured
from sb3_grpo.fairness.metrics.pooled import FloatArray

if TYPE_CHECKING:
    import pandas as pd


def disparities(values: "pd.DataFrame") -> "pd.DataFrame":
    """Worst and best group, gap and ratio of every metric that has a better direction.

    :param values: metrics, one row per group; NaN for insufficient groups, which enter nothing
    :return: one row per metric: ``worst_group``, ``worst``, ``best_group``, ``best``, ``gap`` = |best - worst| and ``ratio`` =
        smaller / larger; NaN and None with fewer than two groups (worst and best: without any), and where both are infinite
    """
    import pandas as pd

    rows = {}
    for name in values.columns:
        better = DEFINITIONS[name].better
        known = values[name].dropna() * better
        if better == 0:
            continue
        worst_group, best_group = (known.idxmin(), known.idxmax()) if len(known) else (None, None)
        worst, best = (abs(float(known.min())), abs(float(known.max()))) if len(known) else (np.nan, np.nan)
        gap = abs(best - worst) if len(known) > 1 and np.isfinite(min(best, worst)) else np.nan
        ratio = min(best, worst) / max(best, worst) if len(known) > 1 and 0 < max(best, worst) < np.inf else np.nan
        rows[name] = (worst_group, worst, best_group, best, gap, ratio)
    columns = ["worst_group", "worst", "best_group", "best", "gap", "ratio"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def parity_indices(counts: Counts, groups: Measured) -> dict[str, float]:
    """Named indices of disparity over the sufficient groups.

    :param counts: what was counted
    :param groups: the groups' metrics, NaN for insufficient ones
    :return: the indices by name; NaN where fewer than two groups have what the index compares
    """
    values = groups.values
    indices: dict[str, float] = {}
    for outcome in ("treated", "in_time"):
        if outcome in values:
            difference, ratio = _demographic_parity(groups, outcome)
            indices[f"{outcome}_parity_difference"], indices[f"{outcome}_parity_ratio"] = difference, ratio
    if "in_time_needing" in values:
        indices |= _equalized_odds(groups)
    if "treated" in values:
        indices["published_demographic_parity"] = _published(counts, values["treated"], "treated", "n")
    if "success" in values:
        indices["published_equalized_odds"] = _published(counts, values["success"], "success", "finished")
    if "wait_mean" in values:
        means = values["wait_mean"].dropna().to_numpy()
        # The groups are all there are, not a sample of groups: the deviation is divided by their number.
        cv = float(means.std() / means.mean()) if len(means) > 1 and means.mean() > 0 else np.nan
        indices["wait_time_cv"], indices["wait_time_equity"] = cv, 1.0 - cv
    return indices


def _as_predictions(groups: Measured, outcome: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """What fairlearn takes: outcome 1 and 0 of each sufficient group, as many as the weights say, (2 G,) each."""
    rate = groups.values[outcome].dropna()
    n = groups.patients[outcome].loc[rate.index].to_numpy(dtype=np.float64)
    chosen = rate.to_numpy() * n
    outcomes = np.repeat([1, 0], len(rate))
    return outcomes, np.tile(np.arange(len(rate)), 2), np.concatenate([chosen, n - chosen])


def _demographic_parity(groups: Measured, outcome: str) -> tuple[float, float]:
    """Largest difference and smallest ratio of the groups' shares: fairlearn's demographic parity, both from one frame."""
    from fairlearn.metrics import MetricFrame, selection_rate

    outcomes, group, weights = _as_predictions(groups, outcome)
    if len(outcomes) < 4:
        return np.nan, np.nan
    frame = MetricFrame(
        metrics=selection_rate,
        y_true=outcomes,  # plays no part in a selection rate
        y_pred=outcomes,
        sensitive_features=group,
        sample_params={"sample_weight": weights},
    )
    return float(frame.difference()), float(frame.ratio())


def _equalized_odds(groups: Measured) -> dict[str, float]:
    """In time (the prediction) given need (the truth): the larger of the two differences, the smaller of the two ratios.

    fairlearn's own ``equalized_odds_difference`` takes the rate of a group without anybody in need for 0. Here such a group
    enters neither comparison, so both parts are made of demographic parity among those in need and among the others.
    """
    needing, others = _demographic_parity(groups, "in_time_needing"), _demographic_parity(groups, "in_time_others")
    known = [part for part in (needing, others) if not np.isnan(part[0])]
    return {
        "equal_opportunity_difference": needing[0],
        "equalized_odds_difference": max((part[0] for part in known), default=np.nan),
        "equalized_odds_ratio": min((part[1] for part in known), default=np.nan),
    }


def _published(counts: Counts, rates: "pd.Series", top: str, bottom: str) -> float:
    """1 - the largest distance of a group's share from that of all patients."""
    known, total = rates.dropna(), counts.sums[bottom].sum()
    if len(known) < 2 or total <= 0:
        return np.nan
    return 1.0 - float((known - counts.sums[top].sum() / total).abs().max())
