"""A log watched over time: control limits for the rate of every group, the worst rate and the gap.

A baseline, the first windows, says what is usual and how much windows differ; the windows after it are judged.

- *Rates of groups*: a p-chart whose limits allow for windows that differ by more than chance between patients (as P. B. Laney,
  "Improved control charts for attributes", Quality Engineering 14, 2002, but with prediction limits: Student's t for the
  spread estimated from the baseline, and the error of the baseline's own rate). Never narrower than binomial limits.
- *Worst rate and gap*: exponentially weighted moving averages (S. W. Roberts, Technometrics 1, 1959), with a smoothing of 1
  Shewhart's charts of single values. Extremes of several rates are skewed, so how many standard deviations away the limits are
  is found by simulation: logs in which nothing changes, with the baseline's rates, numbers of patients and spread, and with a
  baseline of their own; the limits are passed in as many of them as may be.

Only harm raises an alarm: rates below their limit, a gap above it. ``false_alarms`` is shared out over all charts, and in
those of groups over all windows (Sidak's correction, conservative as charts are correlated).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from sb3_grpo.fairness.accumulate import Counts
from sb3_grpo.fairness.audit.audit import Question, read_counts
from sb3_grpo.fairness.audit.columns import ColumnMap
from sb3_grpo.fairness.audit.files import CHUNK_ROWS, RecordsError
from sb3_grpo.fairness.audit.units import PERIODS
from sb3_grpo.fairness.metrics import MIN_PATIENTS, FloatArray
from sb3_grpo.fairness.metrics.definitions import DEFINITIONS

LEAST_BASELINE: Final = 8
"""Windows below which a baseline says too little about what is usual."""

WATCHED: Final = 0.8
"""Share of the baseline's windows in which a group must have enough patients to be watched."""

QUIET_LOGS: Final = 4000
"""Simulated logs in which nothing changes."""

WORST: Final = "worst"
GAP: Final = "gap"


@dataclass(frozen=True)
class Plan:
    """How a log is watched.

    :param by: attributes whose combinations are the groups
    :param window: ``"day"`` or ``"week"``
    :param outcome: metric, or yes/no column, as in :class:`~sb3_grpo.fairness.audit.audit.Question`
    :param baseline: number of windows of the baseline; None for the first half
    :param false_alarms: chance of any alarm in all windows together while nothing changes, in (0, 1)
    :param smoothing: weight of the newest window in the averages of worst and gap, in (0, 1]
    :param min_patients: a rate of fewer patients is not judged
    :param bad_rows: rows that may be left out
    :param seed: seed of the simulated logs in which nothing changes
    """

    by: tuple[str, ...]
    window: str = "week"
    outcome: str | None = None
    baseline: int | None = None
    false_alarms: float = 0.05
    smoothing: float = 0.2
    min_patients: int = MIN_PATIENTS
    bad_rows: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.window not in PERIODS:
            raise ValueError(f"window: got {self.window!r}, expected one of {', '.join(PERIODS)}")
        if self.baseline is not None and self.baseline < LEAST_BASELINE:
            raise ValueError(f"baseline: got {self.baseline}, expected at least {LEAST_BASELINE} windows")
        if not 0 < self.false_alarms < 1:
            raise ValueError(f"false_alarms: got {self.false_alarms}, expected a chance inside (0, 1)")
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"smoothing: got {self.smoothing}, expected a weight in (0, 1]")
        if self.min_patients < 1:
            raise ValueError(f"min_patients: got {self.min_patients}, expected at least 1")


@dataclass(frozen=True, eq=False)
class Chart:
    """One number over the windows.

    :param name: group, or ``"worst"`` or ``"gap"``
    :param value: (W,) what is judged; NaN where it is not known
    :param limit: (W,) its limit; NaN in the baseline and where nothing is judged
    :param centre: what the baseline says is usual
    :param patients: (W,) patients behind each value
    :param upper: whether the limit is an upper one
    """

    name: str
    value: FloatArray
    limit: FloatArray
    centre: float
    patients: npt.NDArray[np.int64]
    upper: bool

    @property
    def passed(self) -> npt.NDArray[np.bool_]:
        """(W,) windows in which the limit was passed."""
        beyond = self.value > self.limit if self.upper else self.value < self.limit
        return np.asarray(beyond, dtype=np.bool_)  # comparisons with NaN are false


@dataclass(frozen=True, eq=False)
class Monitoring:
    """What watching a log gave.

    :param file: name of the file
    :param plan: how it was watched
    :param outcome: metric
    :param label: what it is called
    :param begins: (W,) begin of each window in hours
    :param n_baseline: windows of the baseline, the first ones
    :param charts: one for each group watched, then worst and gap
    :param not_watched: other groups, with their mean number of patients in a window
    :param sentences: what to know when reading
    """

    file: str
    plan: Plan
    outcome: str
    label: str
    begins: FloatArray
    n_baseline: int
    charts: tuple[Chart, ...]
    not_watched: dict[str, float]
    sentences: tuple[str, ...]

    @property
    def n_judged(self) -> int:
        """Windows after the baseline."""
        return len(self.begins) - self.n_baseline

    @property
    def alarms(self) -> list[tuple[int, Chart]]:
        """Windows and charts whose limit was passed, in order of time."""
        return [(window, chart) for window in range(len(self.begins)) for chart in self.charts if chart.passed[window]]

    @property
    def multiplicity(self) -> str:
        """How many limits there are and what the chance of a false alarm is, in words."""
        limits = self.n_judged * len(self.charts)
        return (
            f"{len(self.charts)} charts x {self.n_judged} windows = {limits} limits; if nothing changed, the chance that any "
            f"of them is passed is at most {100 * self.plan.false_alarms:g} %"
        )


def per_limit(false_alarms: float, limits: int) -> float:
    """The chance of a false alarm for one of several limits (Sidak).

    :param false_alarms: the chance for all together
    :param limits: their number
    """
    return float(-np.expm1(np.log1p(-false_alarms) / limits))


def monitor_records(
    path: str | Path, plan: Plan, columns: ColumnMap | None = None, chunk_rows: int = CHUNK_ROWS
) -> Monitoring:
    """Watch a file of records.

    :param path: a ``.csv``, ``.csv.gz`` or ``.parquet`` file, one row per record
    :param plan: how
    :param columns: what the columns are called
    :param chunk_rows: rows that are held in memory at once
    :raises RecordsError: naming file, line and column of what cannot be used, or the option
    """
    question = Question((plan.by,), plan.outcome, plan.window, bad_rows=plan.bad_rows)
    found = read_counts(path, question, columns, chunk_rows)
    counts = found.counts[0]
    begins, top, bottom, patients = by_window(counts, found.outcome, PERIODS[plan.window])
    n_baseline = len(begins) // 2 if plan.baseline is None else plan.baseline
    if n_baseline < LEAST_BASELINE or n_baseline >= len(begins):
        raise RecordsError(
            f"{found.file}: holds {len(begins)} windows ({plan.window}), expected a baseline of at least {LEAST_BASELINE} and "
            f"one more to judge{'' if plan.baseline is None else f'; baseline: got {plan.baseline}'}"
        )
    binary = DEFINITIONS[found.outcome].unit == "share" and found.outcome != "benefit_rate"
    charts, not_watched = control_charts(counts.groups, top, bottom, patients, n_baseline, plan, binary)
    return Monitoring(
        file=found.file,
        plan=plan,
        outcome=found.outcome,
        label=found.label,
        begins=begins,
        n_baseline=n_baseline,
        charts=charts,
        not_watched=not_watched,
        sentences=found.sentences,
    )


def by_window(counts: Counts, outcome: str, length: float) -> tuple[FloatArray, FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Sums of the outcome by window and group; windows in which nobody came included.

    :param counts: counted with the number of the window as the episode
    :param outcome: the metric
    :param length: hours of a window
    :return: begins of the windows (W,), numerator, denominator and patients, (W, G) each
    """
    definition = DEFINITIONS[outcome]
    windows = counts.sums.index.get_level_values("episode")
    numbers = np.arange(windows.min(), windows.max() + 1)

    def table(fact: str) -> FloatArray:
        sums = counts.sums.groupby(level=["episode", "group"])[fact].sum().unstack("group")
        return sums.reindex(index=numbers, columns=list(counts.groups)).fillna(0.0).to_numpy(dtype=np.float64)

    return numbers * length, table(definition.top), table(definition.bottom), table(definition.patients).astype(np.int64)


def control_charts(
    groups: tuple[str, ...],
    top: FloatArray,
    bottom: FloatArray,
    patients: npt.NDArray[np.int64],
    n_baseline: int,
    plan: Plan,
    binary: bool = True,
) -> tuple[tuple[Chart, ...], dict[str, float]]:
    """The charts of all groups, of the worst and of the gap.

    :param groups: names of the G groups
    :param top: (W, G) numerator of the rate by window
    :param bottom: (W, G) denominator
    :param patients: (W, G) patients
    :param n_baseline: windows of the baseline
    :param plan: how to watch
    :param binary: whether the rate is a share of patients
    :return: the charts, and the groups that have too few patients to be watched with their mean number in a window
    :raises RecordsError: if no group has enough patients
    """
    enough = patients >= plan.min_patients
    watched = np.flatnonzero(enough[:n_baseline].mean(axis=0) >= WATCHED)
    others = {name: float(patients[:, k].mean()) for k, name in enumerate(groups) if k not in watched}
    if not len(watched):
        raise RecordsError(
            f"group: no group has {plan.min_patients} patients in {100 * WATCHED:g} % of the baseline's windows; expected "
            f"longer windows, fewer groups or a smaller min_patients (patients in a window: {_listing(others)})"
        )
    n_charts = len(watched) + (2 if len(watched) > 1 else 0)
    risk = per_limit(plan.false_alarms, n_charts)
    rates = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=enough & (bottom > 0))[:, watched]
    usual = [Usual.of(rates[:n_baseline, k], top[:, group], bottom[:, group], binary) for k, group in enumerate(watched)]
    charts = []
    for place, group in enumerate(watched):
        limit = _rate_limit(
            rates[:, place], bottom[:, group], n_baseline, per_limit(risk, len(top) - n_baseline), usual[place]
        )
        charts.append(Chart(groups[group], rates[:, place], limit, usual[place].rate, patients[:, group], upper=False))
    if len(watched) > 1:
        everybody = patients[:, watched].sum(axis=1)
        quiet = _quiet(usual, bottom[:, watched], rates, np.random.default_rng(plan.seed))
        for name, of in ((WORST, _worst), (GAP, _gap)):
            sign = 1 if name == GAP else -1
            factor = float(np.quantile(_largest(sign * of(quiet), n_baseline, plan.smoothing), 1 - risk, method="higher"))
            charts.append(_average_chart(name, of(rates), n_baseline, plan.smoothing, sign * factor, everybody))
    return tuple(charts), others


def _worst(rates: FloatArray) -> FloatArray:
    return np.asarray(rates.min(axis=-1))


def _gap(rates: FloatArray) -> FloatArray:
    return np.asarray(rates.max(axis=-1) - rates.min(axis=-1))


def _listing(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name} {number:.1f}" for name, number in numbers.items())


@dataclass(frozen=True)
class Usual:
    """What the baseline says about one group.

    :param rate: its rate
    :param variance: variance between windows of one unit of the denominator, at least that of the binomial law
    :param denominator: sum of the denominators
    :param windows: windows with enough patients
    :param binary: whether the rate is a share of patients
    """

    rate: float
    variance: float
    denominator: float
    windows: int
    binary: bool

    @classmethod
    def of(cls, rates: FloatArray, top: FloatArray, bottom: FloatArray, binary: bool) -> "Usual":
        """From the windows of the baseline, those that are no NaN among ``rates``."""
        known = np.flatnonzero(~np.isnan(rates))
        above, below = top[known], bottom[known]
        rate = float(above.sum() / below.sum())
        variance = float(((above - rate * below) ** 2 / below).sum() / max(len(known) - 1, 1))
        if binary:
            variance = max(variance, rate * (1 - rate))
        return cls(rate, variance, float(below.sum()), len(known), binary)

    @property
    def informative(self) -> float:
        """Share of the patients that, if independent, would tell as much."""
        return self.rate * (1 - self.rate) / self.variance if self.variance > 0 else 1.0

    def draw(self, bottom: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """Rates of windows in which nothing changes, (n, W)."""
        size = (n, len(bottom))
        if self.binary:
            patients = np.maximum(np.round(bottom * self.informative), 1.0)
            return rng.binomial(patients.astype(np.int64), self.rate, size) / patients
        return self.rate + rng.normal(size=size) * np.sqrt(self.variance / np.maximum(bottom, 1e-9))


def _rate_limit(rate: FloatArray, bottom: FloatArray, n_baseline: int, risk: float, usual: Usual) -> FloatArray:
    """Lower limits of one group's rate."""
    known = ~np.isnan(rate)
    known[:n_baseline] = False
    limit = np.full(len(rate), np.nan)
    factor = float(stats.t.ppf(1 - risk, usual.windows - 1))
    limit[known] = usual.rate - factor * np.sqrt(usual.variance * (1 / bottom[known] + 1 / usual.denominator))
    if usual.binary and 0 < usual.rate < 1:  # near 1 rates are skewed, and the normal law would see them fall too easily
        patients = np.maximum(np.round(bottom[known] * usual.informative), 1.0)
        limit[known] = np.minimum(limit[known], stats.binom.ppf(risk, patients, usual.rate) / patients)
    limit[known] = np.maximum(limit[known], 0.0)
    return limit


def _quiet(usual: list[Usual], bottom: FloatArray, rates: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Rates of logs in which nothing changes, (logs, W, groups); NaN where the log has too few patients."""
    drawn = np.stack([of.draw(bottom[:, k], QUIET_LOGS, rng) for k, of in enumerate(usual)], axis=-1)
    return np.where(np.isnan(rates), np.nan, drawn)


def _averages(series: FloatArray, n_baseline: int, smoothing: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Moving averages that begin at the baseline's mean, their standard deviation, (..., W) each, and that mean and spread.

    :param series: (..., W), NaN in windows that are passed over
    """
    usual = series[..., :n_baseline]
    m = int((~np.isnan(usual)).all(axis=tuple(range(usual.ndim - 1))).sum())
    centre, spread = np.nanmean(usual, axis=-1), np.nanstd(usual, axis=-1, ddof=1)
    value, deviation = np.full(series.shape, np.nan), np.full(series.shape, np.nan)
    average, seen = np.array(centre), 0
    for window in range(n_baseline, series.shape[-1]):
        if np.isnan(series[..., window]).any():
            continue
        average = average + smoothing * (series[..., window] - average)
        seen += 1
        forgotten = (1 - smoothing) ** seen
        # New windows, and the error of the baseline's mean in the share of the average that is not made of itself.
        own = smoothing / (2 - smoothing) * (1 - forgotten**2) + (1 - forgotten) ** 2 / m
        value[..., window], deviation[..., window] = average, spread * np.sqrt(own)
    return value, deviation, centre, spread


def _largest(series: FloatArray, n_baseline: int, smoothing: float) -> FloatArray:
    """How many standard deviations the averages of each log rise at most, (logs,)."""
    value, deviation, centre, _ = _averages(series, n_baseline, smoothing)
    rise = np.divide(value - centre[:, None], deviation, out=np.zeros_like(value), where=deviation > 0)
    return np.asarray(np.nanmax(rise, axis=1, initial=0.0))


def _average_chart(
    name: str, series: FloatArray, n_baseline: int, smoothing: float, factor: float, patients: npt.NDArray[np.int64]
) -> Chart:
    """Moving average of a series with limits ``factor`` standard deviations away."""
    if (~np.isnan(series[:n_baseline])).sum() < LEAST_BASELINE // 2:
        nothing = np.full(len(series), np.nan)
        return Chart(name, series, nothing, float("nan"), patients, upper=name == GAP)
    value, deviation, centre, _ = _averages(series, n_baseline, smoothing)
    value[:n_baseline] = series[:n_baseline]
    return Chart(name, value, centre + factor * deviation, float(centre), patients, upper=name == GAP)
