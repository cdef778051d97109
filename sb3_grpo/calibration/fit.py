"""Fit a hospital to a log: arrivals, mix and stays; everything else is kept from a base scenario."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from hospital_gym.records import AGE_BANDS, SEVERITIES
from hospital_gym.scenarios import SCENARIOS, Scenario
from sb3_grpo.calibration.arrivals import ArrivalCheck, ArrivalFit, check_arrivals, daily_counts, fit_arrivals
from sb3_grpo.calibration.data import Stays
from sb3_grpo.calibration.mix import MixFit, dependence, fit_mix
from sb3_grpo.calibration.stays import LEAST_ENDS, StayFit, distance, fit_stays

PARTS: Final = ("arrivals", "mix", "stays")
"""What can be fitted."""

HELD_OUT: Final = 0.3
"""Share of the time, the last, on which a fit to the rest is checked."""

_DECIMALS: Final = 8  # of the profile's shares in a file: their sum stays within 1e-6 of 1


@dataclass(frozen=True, eq=False)
class StayCheck:
    """A cell's fit to early stays against later ones.

    :param n: later stays that have ended
    :param distance: largest distance between their distribution and the fit
    :param by_chance: what that distance exceeds once in twenty times if the fit is right, 1.36 / sqrt(n)
    """

    n: int
    distance: float
    by_chance: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """A hospital fitted to a log.

    :param file: name of the file
    :param n: patients in it
    :param base: name of the scenario that all else is kept from
    :param scenario: the hospital
    :param arrivals: fit of the arrivals; None where they are kept
    :param mixes: fits of age, severity and sex by the scenario's field, those that were fitted
    :param stays: fits of the stays by age band and severity, those that were fitted
    :param arrival_check: the same fitted to early days, on later ones
    :param stay_checks: likewise, by age band and severity
    :param dependence: how far age and severity are from independent, as the simulator draws them
    :param fitted: what was fitted, by field, with how
    :param kept: what was kept though it could have been fitted, with why
    :param sentences: what was left out, and what to know
    """

    file: str
    n: int
    base: str
    scenario: Scenario
    arrivals: ArrivalFit | None
    mixes: dict[str, MixFit]
    stays: dict[tuple[int, int], StayFit]
    arrival_check: ArrivalCheck | None
    stay_checks: dict[tuple[int, int], StayCheck]
    dependence: float
    fitted: dict[str, str]
    kept: dict[str, str]
    sentences: tuple[str, ...]


def calibrate(stays: Stays, base: Scenario, name: str, parts: Sequence[str] = PARTS, seed: int = 0) -> Calibration:
    """Fit a hospital.

    :param stays: the log
    :param base: scenario whose numbers are kept where the log says nothing
    :param name: name of the new scenario
    :param parts: what to fit, of :data:`PARTS`
    :param seed: seed of the bootstrap of the day effect
    :return: the hospital and how well it fits
    :raises ValueError: if a part is unknown, or a fitted number is outside what a scenario accepts
    """
    for part in parts:
        if part not in PARTS:
            raise ValueError(f"parts: got {part!r}, expected some of {', '.join(PARTS)}")
    changes: dict[str, Any] = {"name": name}
    fitted: dict[str, str] = {}
    kept: dict[str, str] = {}
    arrivals, arrival_check = _arrivals(stays, base, parts, seed, changes, fitted, kept)
    mixes = _mixes(stays, parts, changes, fitted, kept)
    cells = _stays(stays, base, parts, changes, fitted, kept)
    return Calibration(
        file=stays.file,
        n=len(stays),
        base=base.name,
        scenario=replace(base, **changes),
        arrivals=arrivals,
        mixes=mixes,
        stays=cells,
        arrival_check=arrival_check,
        stay_checks=_check_stays(stays, cells),
        dependence=dependence(stays.age_band, stays.severity, 3),
        fitted=fitted,
        kept=kept,
        sentences=stays.sentences,
    )


def _arrivals(
    stays: Stays,
    base: Scenario,
    parts: Sequence[str],
    seed: int,
    changes: dict[str, Any],
    fitted: dict[str, str],
    kept: dict[str, str],
) -> tuple[ArrivalFit | None, ArrivalCheck | None]:
    names = ("requests_per_day", "profile", "day_effect_cv")
    if "arrivals" not in parts or stays.arrival is None:
        reason = "not asked for" if "arrivals" not in parts else "not available: column arrival"
        kept.update(dict.fromkeys(names, reason))
        return None, None
    weekday, counts = daily_counts(stays.arrival, stays.stretch)
    fit = fit_arrivals(weekday, counts, seed)
    if fit is None:
        kept.update(dict.fromkeys(names, f"too few whole days (n={len(weekday)}), expected every weekday and at least 14"))
        return None, None
    changes |= {
        "requests_per_day": fit.requests_per_day,
        "profile": np.round(fit.profile, _DECIMALS),
        "day_effect_cv": min(fit.day_effect_cv, 1.0),
    }
    of = f"{fit.n} arrivals in {fit.days} whole days"
    fitted["requests_per_day"] = f"{of}, standard error {fit.requests_error:.3g}"
    fitted["profile"] = f"{of}, drawn towards weekday share x hour share"
    fitted["day_effect_cv"] = f"{of}, standard error {fit.day_effect_error:.2g}"
    if base.ramp:
        changes["ramp"] = ()
        fitted["ramp"] = "none: the fitted rate is the mean over the log"
    early = _early(len(weekday))
    before = fit_arrivals(weekday[:early], counts[:early], seed)
    if before is None or early == len(weekday):
        return fit, None
    return fit, check_arrivals(before, weekday[early:], counts[early:])


def _mixes(
    stays: Stays, parts: Sequence[str], changes: dict[str, Any], fitted: dict[str, str], kept: dict[str, str]
) -> dict[str, MixFit]:
    found = {}
    for field, codes, k in (
        ("age_mix", stays.age_band, 3),
        ("severity_mix", stays.severity, 3),
        ("male_share", stays.sex, 2),
    ):
        fit = fit_mix(codes, k) if "mix" in parts else None
        if fit is None:
            known = int((codes >= 0).sum())
            kept[field] = "not asked for" if "mix" not in parts else f"too few patients with a known value (n={known})"
            continue
        found[field] = fit
        changes[field] = float(fit.shares[1]) if field == "male_share" else tuple(map(float, fit.shares))
        unknown = f", {fit.unknown} not known" if fit.unknown else ""
        fitted[field] = f"{fit.n} patients{unknown}, standard error at most {fit.errors.max():.2g}"
    return found


def _stays(
    stays: Stays, base: Scenario, parts: Sequence[str], changes: dict[str, Any], fitted: dict[str, str], kept: dict[str, str]
) -> dict[tuple[int, int], StayFit]:
    if "stays" not in parts:
        kept.update(dict.fromkeys(("mean_stay_days", "log_sigma_stay"), "not asked for"))
        return {}
    means, sigmas = (np.array(getattr(base, field)) for field in ("mean_stay_days", "log_sigma_stay"))
    cells, small = {}, []
    for age, severity in np.ndindex(3, 3):
        rows = _cell(stays, age, severity)
        fit = fit_stays(stays.stay[rows], stays.ended[rows])
        if fit is None:
            small.append(f"{cell_name(age, severity)} (n={int(stays.ended[rows].sum())})")
            continue
        cells[age, severity] = fit
        means[age, severity], sigmas[age, severity] = fit.mean_days, fit.sigma
    if cells:
        changes |= {"mean_stay_days": means, "log_sigma_stay": sigmas}
        if base.service_law != "lognormal":
            changes["service_law"] = "lognormal"
            fitted["service_law"] = "stays are fitted by it"
        censored = sum(fit.n - fit.ended for fit in cells.values())
        of = f"{sum(fit.ended for fit in cells.values())} ended stays and {censored} open ones, {len(cells)} of 9 cells"
        fitted |= {"mean_stay_days": of, "log_sigma_stay": of}
    if small:
        kept["mean_stay_days, log_sigma_stay"] = f"fewer than {LEAST_ENDS} ended stays of {', '.join(small)}"
    return cells


def cell_name(age: int, severity: int) -> str:
    """An age band and severity in words."""
    return f"{AGE_BANDS[age]} {SEVERITIES[severity]}"


def _cell(stays: Stays, age: int, severity: int) -> npt.NDArray[np.bool_]:
    return (stays.age_band == age) & (stays.severity_stay == severity) & ~np.isnan(stays.stay)


def _early(n: int) -> int:
    """How many of n, in order of time, the fit that is checked is made from."""
    return round((1 - HELD_OUT) * n)


def _check_stays(stays: Stays, cells: dict[tuple[int, int], StayFit]) -> dict[tuple[int, int], StayCheck]:
    """Fit the early stays of every cell and compare with the later ones: by arrival, in the file's order without arrivals."""
    when = np.arange(len(stays), dtype=np.float64) if stays.arrival is None else stays.arrival + 1e7 * stays.stretch
    checks = {}
    for age, severity in cells:
        rows = np.flatnonzero(_cell(stays, age, severity))
        rows = rows[np.argsort(when[rows], kind="stable")]
        early, late = rows[: _early(len(rows))], rows[_early(len(rows)) :]
        fit = fit_stays(stays.stay[early], stays.ended[early])
        n = int(stays.ended[late].sum())
        if fit is not None and n >= LEAST_ENDS:
            apart = distance(stays.stay[late], stays.ended[late], fit.mu, fit.sigma)
            checks[age, severity] = StayCheck(n, apart, 1.36 / float(np.sqrt(n)))
    return checks


def scenario_yaml(found: Calibration, base_file: str | None = None) -> str:
    """The hospital as a YAML file: fitted numbers, each with how, and the base for all others.

    :param found: the calibration
    :param base_file: where the base was read from; None if it is one of the four
    """
    lines = [f"# Fitted to {found.file}: {found.n} patients. All that is not here is kept from the base, as assumed there."]
    own = base_file is not None or found.base not in SCENARIOS
    if own:
        lines[0] = f"# Fitted to {found.file}: {found.n} patients. What is not marked as fitted is kept from {base_file}."
    else:
        lines.append(f"base: {found.base}")
    for field in fields(Scenario):
        if not own and field.name != "name" and field.name not in found.fitted:
            continue
        if field.name in found.fitted:
            lines.append(f"# fitted: {found.fitted[field.name]}")
        value = _plain(getattr(found.scenario, field.name))
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
        lines.append(f"{field.name}: {text.removesuffix('...' + chr(10)).strip()}")
    lines += [f"# kept: {name}: {why}" for name, why in found.kept.items()]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return float(f"{value:.8g}") if isinstance(value, float) and np.isfinite(value) else value


def scenario_name(path: str | Path) -> str:
    """A name for a scenario from the name of a file."""
    stem = Path(path).name
    for suffix in (".csv.gz", ".csv", ".parquet"):
        stem = stem.removesuffix(suffix)
    name = "".join(sign if sign.isalnum() or sign in "_-" else "-" for sign in stem)
    return name[:100] or "calibrated"
