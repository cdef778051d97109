"""Intervals for what a method's answers do to groups, and paired comparisons of two methods. The unit is the patient.

Each patient's contribution is averaged over the trainings first: trainings do not count as patients. Gaps of rates have
intervals from simultaneous limits of the groups' rates (:mod:`sb3_grpo.fairness.inference.max_t`), which hold when groups tie;
means of several attributes' gaps from such limits that hold for all attributes together. Everything else has BCa intervals of
the bootstrap over patients. Changes are tested by exchanging the two methods' answers; BCa limits of a change in a gap are
approximate where groups tie, so where test and limits disagree, the test is to be trusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sb3_grpo.fairness.classification.counts import Counts, FloatArray
from sb3_grpo.fairness.classification.diagnoses import METRICS, Diagnoses, metrics_of_counts
from sb3_grpo.fairness.classification.rates import DISPARITIES, RATES, parts, rates
from sb3_grpo.fairness.inference.max_t import RatioDraws, band, ratio_draws, smallest
from sb3_grpo.fairness.inference.resampling import bootstrap_estimates
from sb3_grpo.fairness.inference.results import Estimate, Interval

N_DIAGNOSIS_RESAMPLES: Final = 1999
"""Default number of resamples and of exchanges."""

_GAPS: Final = {"eod": ("tpr", "fpr"), **{f"{name}_gap": (name,) for name in RATES}}  # of which rates
_BATCH: Final = 500


@dataclass(frozen=True)
class GroupRates:
    """Groups of one attribute.

    :param names: the groups that are compared
    :param cases: number of cases of each
    :param rates: estimates by rate, one for each group; those of one rate hold together
    :param disparities: estimates by name
    :param insufficient: the groups that are not compared, and how many cases with and without the condition each has
    """

    names: tuple[str, ...]
    cases: tuple[int, ...]
    rates: Mapping[str, tuple[Estimate, ...]]
    disparities: Mapping[str, Estimate]
    insufficient: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class DiagnosisMetrics:
    """Every metric of one method.

    :param overall: estimates by name, disparities as means over the attributes
    :param groups: by attribute
    :param n_patients: the units
    :param n_trainings: over which each patient's contribution was averaged
    """

    overall: Mapping[str, Estimate]
    groups: Mapping[str, GroupRates]
    n_patients: int
    n_trainings: int


@dataclass(frozen=True)
class Change:
    """A metric of one method less that of another, on the same patients.

    :param difference: with its interval
    :param ratio: first / second
    :param p_value: of a two-sided test of "no difference"
    """

    difference: Estimate
    ratio: Estimate
    p_value: float


def diagnosis_metrics(
    diagnoses: Diagnoses, rng: np.random.Generator, n_resamples: int = N_DIAGNOSIS_RESAMPLES, confidence: float = 0.95
) -> DiagnosisMetrics:
    """
    :param diagnoses: the answers
    :param rng: source of the resamples
    :param n_resamples: number of resamples
    :param confidence: confidence level
    """
    of_attributes = tuple(f"{attribute}:{name}" for attribute in diagnoses.attributes for name in DISPARITIES)
    names = (*METRICS, *of_attributes)
    n_patients = diagnoses.units[0]
    with np.errstate(invalid="ignore"):
        found = bootstrap_estimates(diagnoses.statistic(names), n_patients, rng, n_resamples, confidence)
    estimates = dict(zip(names, found, strict=True))
    groups, wide = {}, []
    for attribute in diagnoses.attributes:
        groups[attribute], gaps = _group_rates(diagnoses, attribute, estimates, rng, n_resamples, confidence)
        wide += [gaps] if gaps else []
    overall = {name: estimates[name] for name in METRICS}
    for name in _GAPS if wide else ():
        overall[name] = _mean_gap(overall[name].value, [gaps[name] for gaps in wide])
    return DiagnosisMetrics(overall, groups, n_patients, n_trainings=len(diagnoses.probability))


def _mean_gap(value: float, gaps: Sequence[Estimate]) -> Estimate:
    """Mean of the gaps of several attributes; its limits are the means of limits that hold for all attributes together."""
    if len(gaps) == 1:
        return gaps[0]
    low, high = (float(np.mean(limits)) for limits in ([gap.low for gap in gaps], [gap.high for gap in gaps]))
    return Estimate(value, low, high, np.nan, f"mean of {len(gaps)} limits, {gaps[0].method}")


def _group_rates(
    diagnoses: Diagnoses,
    attribute: str,
    estimates: Mapping[str, Estimate],
    rng: np.random.Generator,
    n_resamples: int,
    confidence: float,
) -> tuple[GroupRates, dict[str, Estimate]]:
    """
    :return: The groups, and their gaps with limits that hold for the gap of every attribute together
    """
    ids, names = diagnoses.attributes[attribute]
    chosen = diagnoses.eligible(attribute)
    counts = diagnoses.counts(attribute)
    disparity = {name: estimates[f"{attribute}:{name}"] for name in DISPARITIES}
    of_groups: dict[str, tuple[Estimate, ...]] = {name: () for name in RATES}
    together: dict[str, Estimate] = {}
    stricter = 1.0 - (1.0 - confidence) / len(diagnoses.attributes)
    if len(chosen) and diagnoses.n_classes == 2:
        draws = {name: _draws(counts, (name,), rng, n_resamples) for name in RATES}
        of_groups = {
            name: tuple(_clipped(limits) for limits in band(draws[name], np.eye(len(chosen)), confidence)) for name in RATES
        }
        if len(chosen) > 1:
            for gap, of in _GAPS.items():
                both = draws[of[0]] if len(of) == 1 else _draws(counts, of, rng, n_resamples)
                disparity[gap] = _gap(both, len(chosen), len(of), confidence)
                together[gap] = _gap(both, len(chosen), len(of), stricter)
    elif len(chosen):
        values = {name: rates(Counts(*(part.sum(axis=0) for part in counts)), name).mean(axis=-1) for name in RATES}
        of_groups = {name: tuple(Estimate(float(v), np.nan, np.nan, np.nan, "none") for v in values[name]) for name in RATES}
    # A group too small to compare is still named, with how many cases have, and have not, the condition
    few = [k for k in range(len(names)) if k not in chosen and (ids == k).any()]
    having = diagnoses.label > 0
    found = GroupRates(
        names=tuple(names[k] for k in chosen),
        cases=tuple(int((ids == k).sum()) for k in chosen),
        rates=of_groups,
        disparities=disparity,
        insufficient={names[k]: (int((having & (ids == k)).sum()), int((~having & (ids == k)).sum())) for k in few},
    )
    return found, together


def _draws(counts: Counts, names: Sequence[str], rng: np.random.Generator, n_resamples: int) -> RatioDraws:
    """Rates of all groups, of one condition, and their resamples over patients; K = len(names) x G."""
    tops, bottoms = zip(*(parts(counts, name) for name in names), strict=True)
    return ratio_draws(
        np.concatenate([top[..., 0] for top in tops], axis=1),
        np.concatenate([bottom[..., 0] for bottom in bottoms], axis=1),
        rng,
        n_resamples,
    )


def _gap(draws: RatioDraws, n_groups: int, n_rates: int, confidence: float) -> Estimate:
    """Largest difference of two groups in any of the rates."""
    first, second = np.nonzero(~np.eye(n_groups, dtype=np.bool_))
    rows = np.eye(n_groups * n_rates)
    pairs = np.concatenate([rows[first + k * n_groups] - rows[second + k * n_groups] for k in range(n_rates)])
    least = smallest(draws, pairs, None, confidence)
    return _clipped(Interval(-least.value, -least.high, -least.low, least.unit, least.n, least.method, confidence))


def _clipped(interval: Interval) -> Estimate:
    low, high = (float(np.clip(limit, 0.0, 1.0)) for limit in (interval.low, interval.high))
    return Estimate(interval.value, low, high, np.nan, interval.method)


def compare_diagnoses(
    first: Diagnoses,
    second: Diagnoses,
    rng: np.random.Generator,
    names: Sequence[str] = tuple(METRICS),
    n_resamples: int = N_DIAGNOSIS_RESAMPLES,
    confidence: float = 0.95,
) -> dict[str, Change]:
    """
    What changes when one method answers in place of another.

    Intervals: BCa, patients resampled for both methods together. The test exchanges the two methods' answers for random
    patients, as might as well have happened if the methods did not differ; p = (r + 1) / (n + 1) with r exchanges that change
    the metric as much as observed.

    :param first: answers of the one
    :param second: answers of the other to the same cases
    :param rng: source of resamples and exchanges
    :param names: of metrics: keys of :data:`METRICS`, or ``"attribute:disparity"``
    :param n_resamples: number of resamples, and of exchanges
    :param confidence: confidence level
    :return: by name
    :raises ValueError: if the cases are not the same
    """
    if not np.array_equal(first.label, second.label) or not np.array_equal(first.patient, second.patient):
        raise ValueError("second: labels or patients differ, expected the same cases in the same order for both methods")
    chosen = tuple(names)
    n_patients = first.units[0]
    of_first, of_second = first.statistic(chosen), second.statistic(chosen)

    def changes(weights: FloatArray) -> FloatArray:
        one, other = of_first(weights), of_second(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([one - other, np.where(other > 0, one / other, np.nan)])

    with np.errstate(invalid="ignore"):
        found = bootstrap_estimates(changes, n_patients, rng, n_resamples, confidence)
    p_values = _exchange_test(first, second, chosen, rng, n_resamples)
    return {
        name: Change(found[k], found[k + len(chosen)], p) for k, (name, p) in enumerate(zip(chosen, p_values, strict=True))
    }


def _exchange_test(
    first: Diagnoses, second: Diagnoses, names: tuple[str, ...], rng: np.random.Generator, n_exchanges: int
) -> list[float]:
    """P values of "the two methods do not differ"; NaN for the area under the curve, which is no ratio of counts."""
    counts = first.all_counts(), second.all_counts()
    n_patients = first.units[0]

    def metrics(exchanged: FloatArray, place: int) -> dict[str, FloatArray]:
        """Metrics of the method in one place, where some patients' answers are the other method's."""
        mixed: dict[str | None, Counts] = {}
        for key, own in counts[place].items():
            others = counts[1 - place][key]
            mixed[key] = Counts(
                *(a.sum(axis=0) + np.tensordot(exchanged, b - a, axes=(1, 0)) for a, b in zip(own, others, strict=True))
            )
        return metrics_of_counts(mixed)

    def differences(exchanged: FloatArray) -> FloatArray:
        one, other = metrics(exchanged, 0), metrics(exchanged, 1)
        nothing = np.full(len(exchanged), np.nan)
        return np.stack([one.get(name, nothing) - other.get(name, nothing) for name in names])

    observed = differences(np.zeros((1, n_patients)))
    extreme = np.zeros(len(names))
    for done in range(0, n_exchanges, _BATCH):
        exchanged = (rng.random((min(_BATCH, n_exchanges - done), n_patients)) < 0.5).astype(np.float64)
        extreme += (np.abs(differences(exchanged)) >= np.abs(observed) - 1e-12).sum(axis=1)
    p = (extreme + 1.0) / (n_exchanges + 1.0)
    return [float(value) for value in np.where(np.isnan(observed[:, 0]), np.nan, p)]
