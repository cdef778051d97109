"""Does what claims 95 % cover 95 %? Patients with known truth, drawn again and again, and every interval put to the test.

Patients of one episode share its luck: with about 50 per group and episode and a correlation of 1/7 the variance of a group's
mean is some eight times that of independent patients (the design effect), as in the hospitals (4 to 15). Outcomes are
successes (Bernoulli) or skewed amounts (log-normal).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special, stats

from sb3_grpo.fairness.inference import (
    Interval,
    adjusted_difference,
    control_variates,
    covariate_table,
    mean_interval,
    paired_bands,
)
from sb3_grpo.fairness.inference.bands import bands_of_draws
from sb3_grpo.fairness.inference.max_t import ratio_draws
from sb3_grpo.fairness.metrics import EpisodeTotals, FloatArray

PATIENTS: Final = 50
"""Mean number of patients of a group in an episode."""

CORRELATION: Final = 1 / 7
"""Of two patients of a group in an episode; design effect 1 + 49 / 7 = 8."""

EQUAL: Final = (0.7, 0.7, 0.7, 0.7)
TIED: Final = (0.6, 0.6, 0.7, 0.8)
APART: Final = (0.5, 0.65, 0.75, 0.9)

MEAN: Final = (0.93, 0.97)
"""What the coverage of an interval of one number should lie in."""
EXTREME: Final = (0.95, 1.0)
"""What that of an extreme should: at least its level, whatever ties."""


@dataclass(frozen=True)
class Check:
    """A number with known truth, estimated in one way.

    :param quantity: what is estimated
    :param method: how
    :param truth: its true value
    :param target: limits that the coverage shall lie in; None for what is shown for comparison
    """

    quantity: str
    method: str
    truth: float
    target: tuple[float, float] | None


@dataclass(frozen=True)
class Case:
    """A world to draw samples from.

    :param title: what it is
    :param n: number of episodes of a sample
    :param checks: what is estimated from each sample
    :param simulate: draws a sample and returns estimate, lower and upper limit of every check, (checks, 3)
    """

    title: str
    n: int
    checks: tuple[Check, ...]
    simulate: Callable[[np.random.Generator], FloatArray]


@dataclass(frozen=True)
class Coverage:
    """What came out for one check.

    :param case: the world
    :param check: what was estimated
    :param replications: number of samples
    :param covered: share of the intervals that held the truth
    :param bias: mean estimate - truth
    :param width: mean width of the intervals
    """

    case: Case
    check: Check
    replications: int
    covered: float
    bias: float
    width: float

    @property
    def error(self) -> float:
        """Standard error of ``covered`` for an interval that keeps its level."""
        return float(np.sqrt(0.95 * 0.05 / self.replications))

    @property
    def verdict(self) -> str:
        """``"holds"`` inside the target, ``"within error"`` outside by two standard errors at most, else ``"misses"``."""
        if self.check.target is None:
            return ""
        low, high = self.check.target
        outside = max(low - self.covered, self.covered - high)
        return "holds" if outside <= 0 else "within error" if outside <= 2 * self.error else "misses"


def run_case(
    case: Case, replications: int, rng: np.random.Generator, progress: Callable[[], object] | None = None
) -> list[Coverage]:
    """Draw samples and count how often the truth is covered.

    :param case: the world
    :param replications: number of samples
    :param rng: source of everything
    :param progress: called after every sample
    """
    results = np.empty((replications, len(case.checks), 3))
    for k in range(replications):
        results[k] = case.simulate(rng)
        if progress is not None:
            progress()
    truth = np.array([check.truth for check in case.checks])
    slack = 1e-12  # a limit that is the truth itself, but for rounding
    hits = (results[..., 1] <= truth + slack) & (truth - slack <= results[..., 2])
    return [
        Coverage(
            case,
            check,
            replications,
            float(hits[:, j].mean()),
            float(results[:, j, 0].mean() - check.truth),
            float((results[:, j, 2] - results[:, j, 1]).mean()),
        )
        for j, check in enumerate(case.checks)
    ]


def cases(n_resamples: int = 999) -> list[Case]:
    """All worlds of the study.

    :param n_resamples: bootstrap resamples of each interval
    """
    found = [mean_case(outcome, n, n_resamples) for outcome in OUTCOMES for n in (10, 20, 30, 100)]
    for truth, name in ((EQUAL, "all groups equal"), (TIED, "two tied worst"), (APART, "groups apart")):
        found += [bands_case(outcome, truth, name, n, n_resamples) for outcome in OUTCOMES for n in (30, 100)]
    for old, new, name in ((EQUAL, EQUAL, "no change, all equal"), (TIED, (0.65, 0.65, 0.7, 0.75), "two tied worst gain .05")):
        found += [paired_case(old, new, name, n, n_resamples) for n in (30, 100)]
    return found + [adjusted_case(n) for n in (30, 100)] + [control_case(n) for n in (30, 100)]


def bernoulli(truth: Sequence[float], n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Successes and patients by episode and group, each (n, G): beta-binomial, half of the luck common to all groups."""
    patients = 1.0 + rng.poisson(PATIENTS - 1, (n, len(truth))).astype(np.float64)
    return rng.binomial(patients.astype(np.int64), _chances(truth, _luck(n, len(truth), rng))).astype(np.float64), patients


def log_normal(truth: Sequence[float], n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Sums of skewed amounts and patients by episode and group, each (n, G); a patient's amount varies by about 110 %."""
    variance = 0.8
    # Correlation of exp(a + b): (exp(v_a) - 1) / (exp(v_a + v_b) - 1).
    shared = float(np.log1p(CORRELATION * np.expm1(variance)))
    patients = 1.0 + rng.poisson(PATIENTS - 1, (n, len(truth))).astype(np.float64)
    common = np.exp(np.sqrt(shared) * _luck(n, len(truth), rng) - shared / 2)
    most = int(patients.max())
    own = np.exp(np.sqrt(variance - shared) * rng.standard_normal((n, len(truth), most)) - (variance - shared) / 2)
    amounts = (own * (np.arange(most) < patients[..., None])).sum(axis=2)
    return np.asarray(truth) * common * amounts, patients


OUTCOMES: Final[dict[str, Callable[[Sequence[float], int, np.random.Generator], tuple[FloatArray, FloatArray]]]] = {
    "Bernoulli": bernoulli,
    "log-normal": log_normal,
}


def mean_case(outcome: str, n: int, n_resamples: int) -> Case:
    """Mean of one number per episode: the mean of its patients."""
    truth, few = 0.7, n < 20
    checks = [Check("mean", "t", truth, MEAN if few else None)]
    if not few:
        checks += [Check("mean", "studentised bootstrap", truth, MEAN), Check("mean", "BCa", truth, None)]
    checks.append(Check("mean", "t over patients, episodes ignored", truth, None))

    def simulate(rng: np.random.Generator) -> FloatArray:
        total, patients = OUTCOMES[outcome]([truth], n, rng)
        values = (total / patients)[:, 0]
        methods = ("t",) if few else ("t", "studentised", "BCa")
        intervals = [mean_interval(values, rng, method=method, n_resamples=n_resamples) for method in methods]
        # What a test over patients would say: the spread between episodes, less the design effect.
        half = stats.t.ppf(0.975, n * PATIENTS - 1) * stats.sem(values) / np.sqrt(1 + (PATIENTS - 1) * CORRELATION)
        return np.array([*_rows(intervals), (values.mean(), values.mean() - half, values.mean() + half)])

    return Case(f"{outcome} outcomes", n, tuple(checks), simulate)


def bands_case(outcome: str, truth: Sequence[float], name: str, n: int, n_resamples: int) -> Case:
    """Group rates of one policy and their extremes, beside the plain bootstrap of the extremes."""
    known = {"worst": min(truth), "best": max(truth), "gap": max(truth) - min(truth)}
    checks = [Check(quantity, "max-t", value, EXTREME) for quantity, value in known.items()]
    checks += [Check(quantity, "percentile bootstrap", value, None) for quantity, value in known.items()]
    checks.append(Check("all rates at once", "max-t", 0.0, MEAN))

    def simulate(rng: np.random.Generator) -> FloatArray:
        total, patients = OUTCOMES[outcome](truth, n, rng)
        draws = ratio_draws(total, patients, rng, n_resamples)
        bands = bands_of_draws(draws, np.arange(len(truth)), [str(k) for k in range(len(truth))])
        rates = draws.value + draws.change
        worst, best = rates.min(axis=1), rates.max(axis=1)
        values = (draws.value.min(), draws.value.max(), np.ptp(draws.value))
        plain = [(v, *np.quantile(r, (0.025, 0.975))) for v, r in zip(values, (worst, best, best - worst), strict=True)]
        beyond = max(max(rate.low - t, t - rate.high) for rate, t in zip(bands.rates, truth, strict=True))
        width = np.mean([rate.high - rate.low for rate in bands.rates])
        inside = (0.0, -width / 2, width / 2) if beyond <= 0 else (0.0, 1.0, 1.0 + width)
        return np.array([*_rows([bands.worst, bands.best, bands.gap]), *plain, inside])

    return Case(f"{outcome} outcomes, {name}", n, tuple(checks), simulate)


def paired_case(old: Sequence[float], new: Sequence[float], name: str, n: int, n_resamples: int) -> Case:
    """Two policies on the same patients."""
    truth = {
        "worst": min(new) - min(old),
        "best": max(new) - max(old),
        "gap": max(new) - min(new) - max(old) + min(old),
    }
    checks = [Check(f"change of {quantity}", "max-t, paired", value, EXTREME) for quantity, value in truth.items()]
    checks.append(Check("change of efficiency", "studentised, paired", float(np.mean(new) - np.mean(old)), MEAN))
    checks.append(Check("efficiency ratio", "studentised, paired", float(np.mean(new) / np.mean(old)), MEAN))
    names = [str(k) for k in range(len(old))]

    def simulate(rng: np.random.Generator) -> FloatArray:
        first, second = paired_totals(old, new, n, rng)
        zero = np.zeros(n)
        bands = paired_bands(second, zero, first, zero, names, rng, n_resamples)
        return _rows([bands.worst, bands.best, bands.gap, bands.efficiency, bands.efficiency_ratio])

    return Case(f"Bernoulli outcomes, {name}", n, tuple(checks), simulate)


def paired_totals(
    old: Sequence[float], new: Sequence[float], n: int, rng: np.random.Generator
) -> tuple[EpisodeTotals, EpisodeTotals]:
    """Totals of two policies that meet the same patients; a fifth of the episodes' luck is each policy's own."""
    shape = (n, len(old), PATIENTS)
    shared, own = _luck(n, len(old), rng), _luck(n, len(old), rng)
    uniform, demand = rng.random(shape), np.full(shape[:2], float(PATIENTS))
    counted = np.full(shape[:2], PATIENTS)
    chances = (_chances(old, shared), _chances(new, np.sqrt(0.8) * shared + np.sqrt(0.2) * own))
    first, second = ((uniform < chance[..., None]).sum(axis=2).astype(np.float64) for chance in chances)
    return EpisodeTotals(demand, first, counted), EpisodeTotals(demand, second, counted)


def adjusted_case(n: int) -> Case:
    """Success of two groups, of which one is more severe: what severity does must not count as the group's."""
    truth = -0.05
    estimators = ("cells", "g-formula", "aipw")
    checks = [Check("group difference", estimator, truth, MEAN) for estimator in estimators]
    checks.append(Check("group difference", "unadjusted", truth, None))

    def simulate(rng: np.random.Generator) -> FloatArray:
        episode = np.repeat(np.arange(n), PATIENTS)
        severity = rng.integers(0, 3, len(episode))
        first = rng.random(len(episode)) < np.array([0.25, 0.5, 0.75])[severity]
        luck = rng.uniform(-0.15, 0.15, n)[episode]
        outcome = rng.random(len(episode)) < 0.80 - 0.15 * severity + truth * first + luck
        x = covariate_table({"severity": severity})
        effects = [adjusted_difference(outcome, first, x, episode, estimator) for estimator in estimators]
        return _rows([*(effect.adjusted for effect in effects), effects[0].unadjusted])

    return Case("Confounded by severity", n, tuple(checks), simulate)


def control_case(n: int) -> Case:
    """Rates that fall, not quite linearly, with how busy an episode is; the controls know how busy and its square."""
    checks = (Check("mean", "control variates", 0.7, MEAN), Check("mean", "t", 0.7, None))

    def simulate(rng: np.random.Generator) -> FloatArray:
        busy, drawn = rng.normal(size=n), rng.normal(size=10 * n)
        values = 0.7 - 0.08 * busy - 0.02 * (np.maximum(busy, 0) ** 2 - 0.5) + 0.05 * rng.normal(size=n)
        controls, expected = (np.column_stack([z, z**2]) for z in (busy, drawn))
        result = control_variates(values, controls, expected)
        return _rows([result.adjusted[0], result.raw[0]])

    return Case("Rates that depend on load", n, checks, simulate)


def _luck(n: int, n_groups: int, rng: np.random.Generator) -> FloatArray:
    """Normal luck of episodes and groups, half of its variance common to the groups of an episode."""
    return np.sqrt(0.5) * (rng.standard_normal((n, 1)) + rng.standard_normal((n, n_groups)))


def _chances(truth: Sequence[float], luck: FloatArray) -> FloatArray:
    """Chances of success whose mean is the truth: beta with the correlation of two patients, at the luck's quantile."""
    scale = 1 / CORRELATION - 1
    mean = np.asarray(truth)
    return np.asarray(special.betaincinv(mean * scale, (1 - mean) * scale, special.ndtr(luck)))


def _rows(intervals: Sequence[Interval]) -> FloatArray:
    return np.array([(interval.value, interval.low, interval.high) for interval in intervals])
