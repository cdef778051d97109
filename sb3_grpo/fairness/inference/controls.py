"""Control variates: what the draws of an episode say before any policy acts explains much of how well it goes.

Busy episodes are bad episodes under every policy. How busy an episode is stands in its draws, and the mean of that over
thousands of episodes costs drawing only, no simulation. So the estimate is moved to where the mean episode would be: regress
the episodes' numbers on their controls and read the line off at the controls' expectation (S. S. Lavenberg and P. D. Welch,
"A perspective on the use of control variables", Management Science 27, 1981). A control whose expectation is not known, only
its mean over the same episodes, narrows nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from hospital_gym.arrival_files import ArrivalFile
from hospital_gym.groups import Grouping
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.draws import draw_episode
from hospital_gym.simulator.layout import IN_BED, N_BEDS, matched_beds
from sb3_grpo.fairness.inference.bands import GroupBands, bands_of_draws
from sb3_grpo.fairness.inference.max_t import N_BAND_RESAMPLES, ratio_draws
from sb3_grpo.fairness.inference.means import linearised_rates
from sb3_grpo.fairness.inference.results import EPISODE, Interval, check_confidence
from sb3_grpo.fairness.metrics import MIN_PATIENTS, EpisodeTotals, FloatArray, sufficient_groups


@dataclass(frozen=True, eq=False)
class ControlledMeans:
    """Means over episodes, adjusted by control variates.

    :param adjusted: one interval per column of the values, Student's t with ``df`` degrees of freedom
    :param raw: the same without controls
    :param variance_ratio: (K,) squared standard error with / without controls; below 1 where they help
    :param n_controls: number of controls that are not combinations of the others
    :param df: episodes - controls - 1
    :param errors: (K,) standard errors of the adjusted means, with that of the controls' expectation
    :param residuals: (E, K) what the controls leave of the values
    """

    adjusted: tuple[Interval, ...]
    raw: tuple[Interval, ...]
    variance_ratio: FloatArray
    n_controls: int
    df: int
    errors: FloatArray
    residuals: FloatArray


def draw_controls(
    scenario: Scenario, grouping: Grouping, seed: int, episodes: Sequence[int], arrivals: ArrivalFile | None = None
) -> FloatArray:
    """What the draws of episodes say about the work to come, without playing them.

    Per bed type the bed-hours that arrivals ask for, their squares, and the bed-hours left of those in bed at the start.

    :param scenario: the hospital
    :param grouping: its groups
    :param seed: seed of the sequence of episodes
    :param episodes: numbers of the E episodes
    :param arrivals: what is replayed instead of drawn
    :return: (E, 9)
    """
    matched = matched_beds()
    rows = []
    for episode in episodes:
        patients = draw_episode(scenario, grouping, seed, episode, arrivals).patients
        kind = matched[3 * patients["age_band"].astype(np.int64) + patients["severity_arrival"]]
        there = patients["status"] == IN_BED
        hours = patients["service_hours"][np.arange(len(patients)), patients["severity_arrival"]]
        asked = np.bincount(kind[~there], weights=hours[~there], minlength=N_BEDS) / 1000.0
        left = np.bincount(patients["bed"][there], weights=patients["stay"][there], minlength=N_BEDS) / 1000.0
        rows.append(np.concatenate([asked, asked**2, left]))
    return np.array(rows)


def control_variates(
    values: npt.ArrayLike, controls: npt.ArrayLike, expected: npt.ArrayLike, confidence: float = 0.95
) -> ControlledMeans:
    """Means of numbers per episode, adjusted to the expectation of controls that no policy can influence.

    Every control costs a degree of freedom. Constant controls and combinations of others are dropped.

    :param values: (E,) or (E, K) numbers per episode; for rates :func:`linearised_rates`
    :param controls: (E, k) of the same episodes
    :param expected: (M, k) of other episodes, which were only drawn; M should be many times E
    :param confidence: confidence level
    :return: adjusted and raw means
    :raises ValueError: if shapes do not match, a number is not finite, or too few episodes are left for the controls
    """
    y, z, more = (np.asarray(a, dtype=np.float64) for a in (values, controls, expected))
    y = y[:, None] if y.ndim == 1 else y
    check_confidence(confidence)
    _check(y, z, more)
    n, z = len(y), z - more.mean(axis=0)
    # On the scale of the expected draws, rank is a matter of numbers near 1.
    _, size, axes = np.linalg.svd((more - more.mean(axis=0)) / np.sqrt(max(len(more) - 1, 1)), full_matrices=False)
    kept = size > 1e-8 * max(float(size.max(initial=0.0)), 1e-300)
    z = z @ (axes[kept].T / size[kept])
    k = z.shape[1]
    df = n - k - 1
    if df < 1:
        raise ValueError(f"values: got {n} episodes, expected more than {k + 1} for {k} independent controls")
    design = np.column_stack([np.ones(n), z])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    residuals = y - design @ coefficients
    inverse = np.linalg.pinv(design.T @ design)
    # Of the whitened controls' expectation each coordinate is known up to variance 1 / M.
    variance = (residuals**2).sum(axis=0) / df * inverse[0, 0] + (coefficients[1:] ** 2).sum(axis=0) / len(more)
    raw_variance = y.var(axis=0, ddof=1) / n
    return ControlledMeans(
        adjusted=_t_intervals(coefficients[0], variance, df, n, f"control variates, t({df})", confidence),
        raw=_t_intervals(y.mean(axis=0), raw_variance, n - 1, n, f"t({n - 1})", confidence),
        variance_ratio=np.divide(variance, raw_variance, out=np.full(len(variance), np.nan), where=raw_variance > 0),
        n_controls=k,
        df=df,
        errors=np.sqrt(variance),
        residuals=residuals,
    )


def controlled_bands(
    totals: EpisodeTotals,
    group_names: Sequence[str],
    controls: npt.ArrayLike,
    expected: npt.ArrayLike,
    rng: np.random.Generator,
    n_resamples: int = N_BAND_RESAMPLES,
    confidence: float = 0.95,
    min_patients: int = MIN_PATIENTS,
) -> GroupBands:
    """As :func:`sb3_grpo.fairness.inference.bands.group_bands`, of rates adjusted by control variates.

    What the controls leave of each episode's contribution is resampled, scaled so that its error is that of the regression.

    :param totals: sums by episode and group, each (E, G)
    :param group_names: names of the G groups
    :param controls: (E, k) of the same episodes
    :param expected: (M, k) of other episodes, which were only drawn
    :param rng: source of the resamples
    :param n_resamples: number of resamples
    :param confidence: confidence level
    :param min_patients: groups with fewer counted patients are insufficient
    """
    chosen = np.flatnonzero(sufficient_groups(totals, min_patients))
    controlled = control_variates(linearised_rates(totals)[:, chosen], controls, expected, confidence)
    n = len(totals.demand)
    plain = controlled.residuals.std(axis=0, ddof=1) / np.sqrt(n)
    scale = np.divide(controlled.errors, plain, out=np.ones(len(plain)), where=plain > 0)
    values = np.array([interval.value for interval in controlled.adjusted]) + scale * controlled.residuals
    return bands_of_draws(ratio_draws(values, np.ones_like(values), rng, n_resamples), chosen, group_names, confidence)


def _t_intervals(
    value: FloatArray, variance: FloatArray, df: int, n: int, method: str, confidence: float
) -> tuple[Interval, ...]:
    half = stats.t.ppf((1 + confidence) / 2, df) * np.sqrt(variance)
    return tuple(
        Interval(float(v), float(v - h), float(v + h), EPISODE, n, method, confidence)
        for v, h in zip(value, half, strict=True)
    )


def _check(values: FloatArray, controls: FloatArray, expected: FloatArray) -> None:
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"values: got shape {values.shape}, expected (episodes >= 2, columns)")
    if controls.ndim != 2 or len(controls) != len(values):
        raise ValueError(f"controls: got shape {controls.shape}, expected one row for each of the {len(values)} episodes")
    if expected.ndim != 2 or len(expected) < 2 or expected.shape[1] != controls.shape[1]:
        raise ValueError(f"expected: got shape {expected.shape}, expected (episodes >= 2, {controls.shape[1]})")
    for key, table in (("values", values), ("controls", controls), ("expected", expected)):
        if not np.isfinite(table).all():
            raise ValueError(f"{key}[{int(np.argmin(np.isfinite(table).all(axis=1)))}]: got a number that is not finite")
