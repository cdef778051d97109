"""All metrics of all groups from one table, or from the counts of many chunks of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.accumulate import ALL, HORIZON, STRATA, WIDTH, Counts, accumulate
from sb3_grpo.fairness.facts import lacking_columns
from sb3_grpo.fairness.metrics.definitions import DEFINITIONS
from sb3_grpo.fairness.metrics.individual import FEATURES, TREATMENTS, individual_fairness
from sb3_grpo.fairness.metrics.measure import Measured, measure
from sb3_grpo.fairness.metrics.parity import disparities, parity_indices
from sb3_grpo.fairness.metrics.pooled import MIN_PATIENTS, ratio
from sb3_grpo.fairness.metrics.relative_risk import relative_risks
from sb3_grpo.fairness.metrics.standardise import Standardised, simpson_messages, standardise
from sb3_grpo.fairness.metrics.text import plain, readable
from sb3_grpo.fairness.metrics.utilisation import resource_use
from sb3_grpo.fairness.records import HasRecords, to_frame

if TYPE_CHECKING:
    import pandas as pd

    Data = npt.NDArray[Any] | HasRecords | pd.DataFrame | Counts


@dataclass(frozen=True, eq=False)
class GroupMetrics:
    """Metrics per group; their meanings stand in :data:`~sb3_grpo.fairness.metrics.definitions.DEFINITIONS`.

    A number that was not measured, or on fewer than ``min_patients`` patients, is NaN and reads "insufficient (n=3)"; a
    quantile beyond the horizon is infinite and reads "> 168".

    :param by: attributes that define the groups
    :param min_patients: least number of patients of a metric
    :param horizon: hours up to which waits were looked at
    :param values: one row per group, one column per metric
    :param patients: number of patients behind each value
    :param n: counted patients of each group
    :param overall: the same metrics of all patients together, and what was spent on them if the costs are known
    :param disparity: per metric the worst and best group, gap and ratio
    :param indices: named indices of disparity
    :param relative_risk: per group the success relative to the reference group, with an interval
    :param standardised: the metrics at equal severity, None where groups cannot be compared so
    :param windows: values by window (begin, in hours) and group, None without windows
    :param window_patients: the patients behind them
    :param utilisation: use of every resource, None where it is not known
    :param messages: what could not be computed and why, and what to know when reading, a sentence each
    """

    by: tuple[str, ...]
    min_patients: int
    horizon: float
    values: "pd.DataFrame"
    patients: "pd.DataFrame"
    n: "pd.Series"
    overall: "pd.Series"
    disparity: "pd.DataFrame"
    indices: dict[str, float]
    relative_risk: "pd.DataFrame | None"
    standardised: Standardised | None
    windows: "pd.DataFrame | None"
    window_patients: "pd.DataFrame | None"
    utilisation: "pd.DataFrame | None"
    messages: tuple[str, ...]

    def to_frame(self, text: bool = False) -> "pd.DataFrame":
        """One row per group: ``n`` and every metric.

        :param text: as text, so that insufficient numbers say so
        """
        table = readable(self.values, self.patients, self.min_patients, self.horizon) if text else self.values.copy()
        table.insert(0, "n", self.n)
        return table

    def windows_to_frame(self, text: bool = False) -> "pd.DataFrame | None":
        """One row per window and group, None without windows.

        :param text: as text, so that insufficient numbers say so
        """
        if self.windows is None or self.window_patients is None:
            return None
        if text:
            return readable(self.windows, self.window_patients, self.min_patients, self.horizon)
        return self.windows.copy()

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries, lists, numbers and strings; a number that does not exist is ``None`` (JSON has no NaN)."""
        standardised = None
        if self.standardised is not None:
            standardised = {
                "column": self.standardised.column,
                "values": plain(self.standardised.values),
                "mix": plain(self.standardised.mix),
                "not_compared": dict(self.standardised.not_compared),
            }
        windows = None
        if self.windows is not None:
            windows = [
                {"window": plain(window), "groups": plain(rows.droplevel("window"))}
                for window, rows in self.windows.groupby(level="window")
            ]
        return {
            "by": list(self.by),
            "min_patients": self.min_patients,
            "horizon": self.horizon,
            "n": plain(self.n),
            "groups": plain(self.values),
            "overall": plain(self.overall),
            "disparity": plain(self.disparity),
            "indices": {name: plain(value) for name, value in self.indices.items()},
            "relative_risk": None if self.relative_risk is None else plain(self.relative_risk),
            "standardised": standardised,
            "windows": windows,
            "utilisation": None if self.utilisation is None else plain(self.utilisation),
            "messages": list(self.messages),
        }


def group_metrics(
    data: "Data",
    by: str | Sequence[str] = "group",
    *,
    strata: str | None = STRATA,
    windows: str | Sequence[float] | None = None,
    reference: str | None = None,
    min_patients: int = MIN_PATIENTS,
    costs: npt.ArrayLike | None = None,
    utilisation: Mapping[str, npt.ArrayLike] | None = None,
    similar: Sequence[str] | None = FEATURES,
    horizon: float = HORIZON,
    width: float = WIDTH,
    patients: "pd.DataFrame | None" = None,
) -> GroupMetrics:
    """Every metric that the columns allow, for every group.

    :param data: patient table, records, episodes (:class:`sb3_grpo.common.evaluation.EpisodeSet`), or counts, which already
        hold ``by``, ``strata``, ``windows``, ``horizon`` and ``width``
    :param by: column, or columns whose combinations are the groups
    :param strata: column by which groups are standardised; None for none
    :param windows: ``"day"``, ``"week"`` or ascending edges in hours, by arrival
    :param reference: group that relative risks refer to; default: the largest
    :param min_patients: metrics of fewer patients are insufficient
    :param costs: cost of each episode; default: those of the episodes, if ``data`` are episodes
    :param utilisation: per resource the hours used and available; default: those of the episodes, if ``data`` are episodes
    :param similar: columns that make patients similar, for individual fairness; None to leave that out
    :param horizon: hours up to which waits are looked at
    :param width: hours of a bin of waits
    :param patients: the table that was counted, for individual fairness, if ``data`` are counts and it is at hand
    :return: the metrics
    :raises ValueError: naming the column or argument, its value and what is accepted
    """
    if min_patients < 1:
        raise ValueError(f"min_patients: got {min_patients}, expected at least 1")
    if costs is None:
        costs = getattr(data, "costs", None)
    utilisation = getattr(data, "utilisation", None) if utilisation is None else utilisation
    if isinstance(data, Counts):
        counts = data
    else:
        patients = to_frame(data)
        counts = accumulate(patients, by, strata=strata, windows=windows, horizon=horizon, width=width)
    metrics = _summarise(counts, reference, min_patients, costs)
    individual, message = _individual(patients, similar)
    return replace(
        metrics,
        indices={**metrics.indices, **individual},
        utilisation=resource_use(utilisation) if utilisation else None,
        messages=(*metrics.messages, f"consistency: not available: {message}") if message else metrics.messages,
    )


def _individual(frame: "pd.DataFrame | None", similar: Sequence[str] | None) -> tuple[dict[str, float], str]:
    """Indices of individual fairness, or why there are none."""
    if frame is None:
        return {}, "single patients are not in counts"
    if similar is None:
        return {}, "not asked for"
    lacking = lacking_columns(frame, (*TREATMENTS["in_time"], *((name,) for name in similar)))
    if lacking:
        return {}, f"column {lacking}"
    found = individual_fairness(frame, similar)
    return {"consistency": found.consistency, "lipschitz": found.lipschitz}, ""


def _summarise(counts: Counts, reference: str | None, min_patients: int, costs: npt.ArrayLike | None) -> GroupMetrics:
    import pandas as pd

    names = pd.Index(list(counts.groups), name="group")
    groups = measure(counts, ["group"], names, min_patients)
    n = counts.sums.groupby(level="group")["n"].sum().reindex(names, fill_value=0.0).astype(np.int64)
    values = groups.values
    risk = None
    if "success" in values:
        risk = relative_risks(counts, values["success"], reference)
    standardised = standardise(counts, groups)
    by_window = _by_window(counts, names, min_patients)
    overall = _overall(counts, min_patients, costs)
    return GroupMetrics(
        by=counts.by,
        min_patients=min_patients,
        horizon=counts.horizon,
        values=values,
        patients=groups.patients,
        n=n,
        overall=overall,
        disparity=disparities(values),
        indices=parity_indices(counts, groups),
        relative_risk=risk,
        standardised=standardised,
        windows=None if by_window is None else by_window.values,
        window_patients=None if by_window is None else by_window.patients,
        utilisation=None,
        messages=tuple(_messages(counts, n, values, overall, risk, standardised, min_patients)),
    )


def _overall(counts: Counts, min_patients: int, costs: npt.ArrayLike | None) -> "pd.Series":
    """Metrics of everybody; cost per treated patient and per unit of benefit from the episodes' costs, if they are given."""
    import pandas as pd

    sums = counts.sums.sum()
    overall = measure(counts.pooled(), ["group"], pd.Index([ALL]), min_patients).values.iloc[0].copy()
    if costs is not None:
        total = float(np.sum(np.asarray(costs, dtype=np.float64)))
        for name, fact in (("cost_per_treated", "treated"), ("cost_per_benefit", "benefit")):
            if fact in sums:
                overall[name] = float(ratio(total, sums[fact]))
    return overall


def _by_window(counts: Counts, groups: "pd.Index", min_patients: int) -> Measured | None:
    """Metrics by window and group; windows in which nobody came are left out."""
    import pandas as pd

    if counts.windows is None:
        return None
    begins = counts.sums.index.get_level_values("window").unique().sort_values()
    rows = pd.MultiIndex.from_product([begins[np.isfinite(begins)], groups], names=["window", "group"])
    return measure(counts, ["window", "group"], rows, min_patients)


def _messages(
    counts: Counts,
    n: "pd.Series",
    values: "pd.DataFrame",
    overall: "pd.Series",
    risk: "pd.DataFrame | None",
    standardised: Standardised | None,
    min_patients: int,
) -> list[str]:
    messages = []
    for name, definition in DEFINITIONS.items():
        needed = {counts.missing[fact] for fact in definition.needs if fact in counts.missing}
        if needed:
            columns = ", ".join(dict.fromkeys(", ".join(sorted(needed)).split(", ")))
            where = " by group" if name in overall else ""  # the costs of episodes are known for all patients together
            messages.append(f"{name}: not available{where}: column {columns}")
    messages += [f"{group}: insufficient (n={n[group]}): enters no comparison" for group in n.index if n[group] < min_patients]
    if risk is not None and risk.attrs["unit"] == "patient":
        messages.append("relative_risk: the unit is the patient, as there is one episode: intervals are too narrow")
    if standardised is None:
        lacking = (
            f"strata, such as column {STRATA}" if counts.strata is None else f"two groups that share values of {counts.strata}"
        )
        messages.append(f"standardised: not available: needs {lacking}")
    else:
        for group, cells in standardised.not_compared.items():
            messages.append(f"standardised: {group} is not compared: too few patients in {standardised.column} {cells}")
        messages += simpson_messages(values, standardised)
    return messages
