"""A calibration in a terminal, as JSON and as a picture."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hospital_gym.records import AGE_BANDS, SEVERITIES
from sb3_grpo.calibration.fit import Calibration, cell_name
from sb3_grpo.calibration.stays import QUANTILES
from sb3_grpo.fairness.report.document import without_nan
from sb3_grpo.fairness.report.figures import COLOURS

_SHOWN = (0, 2, 4)  # quantiles that fit on a line; JSON has all
_MIXES = {"age_mix": AGE_BANDS, "severity_mix": SEVERITIES, "male_share": ("female", "male")}


def summary(found: Calibration) -> Any:
    """What was fitted, how well, and what was kept."""
    parts: list[Any] = [_numbers(found)]
    if found.stays:
        parts.append(_stays(found))
    parts += [Text(sentence) for sentence in checks(found)]
    kept = [f"Kept as assumed: {name}: {why}." for name, why in found.kept.items()]
    parts += [Text(sentence, style="yellow") for sentence in kept]
    parts.append(Text(f"All other numbers are those of {found.base}, as assumed there.", style="dim"))
    return Group(*parts, *(Text(sentence, style="dim") for sentence in found.sentences))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _numbers(found: Calibration) -> Table:
    table = _table(
        f"{found.scenario.name}, fitted to {found.file} ({found.n:,} patients)", "number", "fitted", "standard error"
    )
    if found.arrivals is not None:
        fit = found.arrivals
        table.add_row("requests a day", f"{fit.requests_per_day:.3g}", f"{fit.requests_error:.2g}")
        table.add_row("day effect, CV", f"{fit.day_effect_cv:.3f}", f"{fit.day_effect_error:.3f}")
        table.add_row("busiest hour / mean", f"{168 * fit.profile.max():.2f}", "")
        table.add_row("quietest hour / mean", f"{168 * fit.profile.min():.2f}", "")
    for field, mix in found.mixes.items():
        for name, share, error in zip(_MIXES[field], mix.shares, mix.errors, strict=True):
            table.add_row(f"{field}: {name}", f"{share:.3f}", f"{error:.3f}")
    return table


def _stays(found: Calibration) -> Table:
    columns = ["ended", "open", "mean, days", "log sigma", *(f"{100 * QUANTILES[q]:g} %" for q in _SHOWN), "distance", "later"]
    table = _table("Stays; quantiles in hours, observed / fitted", "age and severity", *columns)
    for (age, severity), fit in found.stays.items():
        check = found.stay_checks.get((age, severity))
        quantiles = (f"{_hours(fit.observed[q])} / {_hours(fit.fitted[q])}" for q in _SHOWN)
        table.add_row(
            cell_name(age, severity),
            f"{fit.ended:,}",
            f"{fit.n - fit.ended:,}",
            f"{fit.mean_days:.2f} ± {fit.mean_error:.2f}",
            f"{fit.sigma:.2f} ± {fit.sigma_error:.2f}",
            *quantiles,
            f"{fit.distance:.3f}",
            "" if check is None else f"{check.distance:.3f}",
        )
    return table


def _hours(value: float) -> str:
    return "?" if np.isinf(value) else f"{value:.0f}"


def checks(found: Calibration) -> list[str]:
    """How well the hospital fits, in sentences."""
    said = []
    check = found.arrival_check
    if check is not None:
        off = (check.observed - check.expected) / check.error
        said.append(
            f"Arrivals held out: fitted to the first days, the last {check.days} days were expected to bring "
            f"{check.expected:.0f} ± {check.error:.0f} arrivals and brought {check.observed} ({off:+.1f} standard "
            f"deviations); hours of the day: chi-square per degree of freedom {check.hours:.2f}, about 1 if only chance is "
            "left."
        )
    if found.stays:
        worst = max(found.stays.items(), key=lambda item: item[1].distance)
        said.append(
            f"Stays: the distance is the largest between the observed and the fitted distribution function; at most "
            f"{worst[1].distance:.3f} ({cell_name(*worst[0])}). Above 0.1 the law is not log-normal for practical purposes."
        )
    if found.stay_checks:
        beyond = [f"{cell_name(*cell)}" for cell, c in found.stay_checks.items() if c.distance > c.by_chance]
        said.append(
            f"Stays held out (column later: fitted to the early 70 %, distance of the late 30 %): "
            f"{len(beyond)} of {len(found.stay_checks)} beyond chance (1.36 / sqrt(n))"
            + (f": {', '.join(beyond)}." if beyond else ".")
        )
    if "age_mix" in found.mixes and "severity_mix" in found.mixes:
        said.append(
            "Age and severity are drawn independently of each other; here their joint shares are up to "
            f"{found.dependence:.3f} away from that."
        )
    return said


def to_dict(found: Calibration) -> dict[str, Any]:
    """The fit as dictionaries, lists, numbers and strings."""
    arrivals, check = found.arrivals, found.arrival_check
    return without_nan(
        {
            "schema": "sb3_grpo calibration",
            "version": 1,
            "file": found.file,
            "patients": found.n,
            "base": found.base,
            "scenario": found.scenario.name,
            "arrivals": None
            if arrivals is None
            else {
                "requests_per_day": arrivals.requests_per_day,
                "requests_error": arrivals.requests_error,
                "day_effect_cv": arrivals.day_effect_cv,
                "day_effect_error": arrivals.day_effect_error,
                "days": arrivals.days,
            },
            "held_out_arrivals": None if check is None else vars(check),
            "mix": {
                field: {
                    "n": mix.n,
                    "shares": dict(zip(_MIXES[field], mix.shares.tolist(), strict=True)),
                    "errors": mix.errors.tolist(),
                }
                for field, mix in found.mixes.items()
            },
            "stays": {cell_name(*cell): _stay_dict(found, cell) for cell in found.stays},
            "dependence": found.dependence,
            "fitted": found.fitted,
            "kept": found.kept,
            "notes": [*checks(found), *found.sentences],
        }
    )


def _stay_dict(found: Calibration, cell: tuple[int, int]) -> dict[str, Any]:
    fit, check = found.stays[cell], found.stay_checks.get(cell)
    return {
        "n": fit.n,
        "ended": fit.ended,
        "mean_days": fit.mean_days,
        "mean_error": fit.mean_error,
        "log_sigma": fit.sigma,
        "log_sigma_error": fit.sigma_error,
        "quantiles": {f"{q:g}": [float(o), float(f)] for q, o, f in zip(QUANTILES, fit.observed, fit.fitted, strict=True)},
        "distance": fit.distance,
        "held_out": None if check is None else vars(check),
    }


def draw(path: str | Path, found: Calibration) -> None:
    """Draw the arrival profile and quantiles against quantiles of the stays.

    :param path: the PNG to write
    :param found: the calibration
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _profile(left, found)
    _quantiles(right, found)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.suptitle(f"{found.scenario.name}, fitted to {found.file}".replace("$", r"\$"), ha="left", x=0.01, fontsize=12)
    figure.savefig(path, dpi=110, format="png")


def _profile(axes: Axes, found: Calibration) -> None:
    axes.set_title("arrivals by hour of the week / mean", loc="left", fontsize=10)
    if found.arrivals is None:
        axes.annotate("not fitted", (0.4, 0.5), xycoords="axes fraction")
        return
    hours = np.arange(168)
    axes.plot(hours, 168 * found.arrivals.observed.ravel(), ".", markersize=3, color="#9aa4af", label="counted")
    axes.plot(hours, 168 * found.arrivals.profile.ravel(), color=COLOURS[0], label="fitted")
    axes.set_xticks(range(0, 168, 24), ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
    axes.legend(frameon=False, fontsize=9)


def _quantiles(axes: Axes, found: Calibration) -> None:
    axes.set_title("stays in hours: quantiles, observed against fitted", loc="left", fontsize=10)
    if not found.stays:
        axes.annotate("not fitted", (0.4, 0.5), xycoords="axes fraction")
        return
    for place, ((age, severity), fit) in enumerate(found.stays.items()):
        known = np.isfinite(fit.observed)
        colour, marker = COLOURS[place % len(COLOURS)], "osD"[severity]
        axes.plot(fit.fitted[known], fit.observed[known], marker, color=colour, label=cell_name(age, severity), markersize=5)
    hours = np.concatenate([fit.fitted for fit in found.stays.values()])
    axes.plot([hours.min(), hours.max()], [hours.min(), hours.max()], color="#6b7682", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("fitted")
    axes.set_ylabel("observed")
    axes.legend(frameon=False, fontsize=8)
