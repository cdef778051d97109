"""The charts as plotly figures. Colours can be told apart with any colour vision, and patterns, symbols or dashes differ too.

The page says in words and in a table what each chart shows; plotly is imported when the first chart is drawn.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sb3_grpo.fairness.inference.results import Estimate, Interval
from sb3_grpo.fairness.report.curves import TrainingCurve
from sb3_grpo.fairness.report.findings import Findings
from sb3_grpo.fairness.report.waits import WaitCurve
from sb3_grpo.fairness.report.wording import shortened

if TYPE_CHECKING:
    import plotly.graph_objects as go

# The palette of M. Okabe and K. Ito, those first that stand out best from white.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
PATTERNS: Final = ("", "/", ".", "x", "-", "\\", "+")
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down")
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")

MOST_BARS: Final = 4
"""Policies that the bar chart shows; the table below it has all."""

_INK: Final = "#1d2733"
_FAINT: Final = "#77828e"
_GRID: Final = "#e3e7ec"
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def _label(name: str) -> str:
    """A name from the data as plotly takes it literally, who would else read a little HTML and, between dollars, TeX."""
    return html.escape(shortened(str(name)), quote=False).replace("$", "&#36;")


def _figure(height: int, **layout: Any) -> "go.Figure":
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin=dict(l=8, r=24, t=8, b=8, pad=4),
        font=dict(family=_FONT, size=13, color=_INK),
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        hoverlabel=dict(font=dict(family=_FONT)),
        dragmode=False,
        legend=dict(orientation="h", x=0, y=1.02, yanchor="bottom", xanchor="left", itemclick=False, itemdoubleclick=False),
        **layout,
    )
    # Fixed ranges let a finger scroll the page across a chart.
    figure.update_xaxes(gridcolor=_GRID, zerolinecolor="#8a94a0", automargin=True, fixedrange=True, title_standoff=8)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor="#8a94a0", automargin=True, fixedrange=True, title_standoff=8)
    return figure


def _error(intervals: Sequence[Interval | Estimate]) -> dict[str, Any]:
    return dict(
        type="data",
        symmetric=False,
        array=[_finite(i.high - i.value) for i in intervals],
        arrayminus=[_finite(i.value - i.low) for i in intervals],
        color=_INK,
        thickness=1.5,
        width=4,
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def in_order(findings: Findings) -> list[str]:
    """Policies as charts number them, so that each has one colour: the one the report is about, the reference, the others."""
    first = [findings.setting.subject]
    if findings.setting.reference is not None:
        first.append(findings.setting.reference)
    return [*first, *(name for name in findings.policies if name not in first)]


def shown_policies(findings: Findings) -> list[str]:
    """Policies of the bar chart."""
    return in_order(findings)[:MOST_BARS]


def group_bars(findings: Findings) -> "go.Figure":
    """Rate of every group under each policy, with simultaneous intervals."""
    import plotly.graph_objects as go

    names = shown_policies(findings)
    share = findings.setting.share
    figure = _figure(96 + 26 * len(names) * len(findings.group_names), barmode="group", bargap=0.3, bargroupgap=0.08)
    for place, name in enumerate(names):
        rates = findings.policies[name].bands.rates
        figure.add_trace(
            go.Bar(
                orientation="h",
                y=[_label(group) for group in findings.group_names],
                x=[_finite(rate.value) for rate in rates],
                error_x=_error(rates),
                name=_label(name),
                marker=_fill(place),
                hovertemplate="%{y}: %{x:.1%}<extra></extra>" if share else "%{y}: %{x:.3g}<extra></extra>",
            )
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(legend_traceorder="normal")
    figure.update_xaxes(title=findings.setting.rate)
    if share:
        figure.update_xaxes(range=[0, 1], tickformat=".0%")
    return figure


def group_changes(findings: Findings) -> "go.Figure | None":
    """Change of every group's rate against the reference; None without one."""
    import plotly.graph_objects as go

    paired = findings.subject.paired
    if paired is None:
        return None
    factor = 100 if findings.setting.share else 1
    rows = [*zip(paired.group_names, paired.rates, strict=True), ("gap between groups", paired.gap)]
    figure = _figure(70 + 40 * len(rows), showlegend=False)
    for row, (name, change) in enumerate(rows):
        is_gap = row == len(rows) - 1
        scaled = replace(change, value=factor * change.value, low=factor * change.low, high=factor * change.high)
        figure.add_trace(
            go.Scatter(
                x=[_finite(scaled.value)],
                y=[_label(name)],
                error_x=_error([scaled]),
                mode="markers",
                marker=dict(
                    size=11,
                    color="#ffffff" if is_gap else COLOURS[0],
                    symbol="diamond" if is_gap else "circle",
                    line=dict(color=_INK, width=1.5),
                ),
                hovertemplate="%{y}: %{x:+.1f}<extra></extra>" if factor == 100 else "%{y}: %{x:+.3g}<extra></extra>",
            )
        )
    figure.add_vline(x=0, line=dict(color=_INK, width=1.5))
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title=f"change{' in points' if factor == 100 else ''}", zeroline=False)
    return figure


def pareto(findings: Findings) -> "go.Figure":
    """Efficiency and worst group of every policy, with the front."""
    import plotly.graph_objects as go

    figure = _figure(430, showlegend=False)
    policies = [findings.policies[name] for name in in_order(findings)]
    front = sorted(
        ((p.efficiency.value, p.bands.worst.value) for p in policies if p.on_front), key=lambda point: (point[0], -point[1])
    )
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in front], y=[y for _, y in front], mode="lines", line=dict(color=_FAINT, width=2, dash="dot"),
            hoverinfo="skip",
        )
    )  # fmt: skip
    labelled = {findings.setting.subject, findings.setting.reference}
    few = len(policies) <= 6
    for place, policy in enumerate(policies):
        name, kind = policy.name, place % len(COLOURS)
        if not np.isfinite(policy.efficiency.value + policy.bands.worst.value):
            continue
        figure.add_trace(
            go.Scatter(
                x=[policy.efficiency.value],
                y=[policy.bands.worst.value],
                error_x={**_error([policy.efficiency]), "color": _FAINT, "thickness": 1, "width": 0},
                error_y={**_error([policy.bands.worst]), "color": _FAINT, "thickness": 1, "width": 0},
                mode="markers+text" if few or policy.on_front or name in labelled else "markers",
                text=[_label(name)],
                textposition="top center",
                marker=dict(size=12, color=COLOURS[kind], symbol=SYMBOLS[kind], line=dict(color=_INK, width=1)),
                hovertemplate=f"{_label(name).replace('%{', '% {')}<br>%{{x}}, %{{y}}<extra></extra>",
                cliponaxis=False,
            )
        )
    form = ".3~%" if findings.setting.share else ".3g"
    figure.update_xaxes(title="efficiency: (benefit \u2212 cost) / demand", tickformat=form, nticks=6, zeroline=False)
    figure.update_yaxes(title="rate of the worst-off group", tickformat=form, nticks=7, zeroline=False)
    return figure


def trade_off(points: Mapping[str, tuple[Estimate, Estimate]], titles: tuple[str, str]) -> "go.Figure":
    """Two numbers of each of several methods, with their intervals.

    :param points: by the methods' names
    :param titles: what the axes show
    """
    import plotly.graph_objects as go

    figure = _figure(430, showlegend=True)
    for place, (name, (across, up)) in enumerate(points.items()):
        kind = place % len(COLOURS)
        if not np.isfinite(across.value + up.value):
            continue
        figure.add_trace(
            go.Scatter(
                x=[across.value],
                y=[up.value],
                error_x={**_error([across]), "color": _FAINT, "thickness": 1, "width": 0},
                error_y={**_error([up]), "color": _FAINT, "thickness": 1, "width": 0},
                mode="markers",
                name=_label(name),
                marker=dict(
                    size=12,
                    color=COLOURS[kind],
                    symbol=SYMBOLS[(place + place // len(COLOURS)) % len(SYMBOLS)],
                    line=dict(color=_INK, width=1),
                ),
                hovertemplate=f"{_label(name).replace('%{', '% {')}<br>%{{x:.3f}}, %{{y:.3f}}<extra></extra>",
                cliponaxis=False,
            )
        )
    figure.update_xaxes(title=titles[0], nticks=6, zeroline=False)
    figure.update_yaxes(title=titles[1], nticks=7, zeroline=False)
    return figure


def wait_chart(group: str, curves: Mapping[str, WaitCurve]) -> "go.Figure":
    """Share of one group not yet treated, one line for each policy; the page has the key."""
    import plotly.graph_objects as go

    figure = _figure(230, showlegend=False)
    for place, (name, curve) in enumerate(curves.items()):
        figure.add_trace(
            go.Scatter(
                x=curve.hours.tolist(),
                y=[_finite(value) for value in curve.untreated.round(4)],
                mode="lines",
                line=dict(color=COLOURS[place], dash=DASHES[place], width=2.5, shape="hv"),
                name=_label(name),
                hovertemplate="%{y:.0%} after %{x:.0f} h<extra></extra>",
            )
        )
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", nticks=5)
    figure.update_xaxes(title="hours since arrival", tickvals=[0, 12, 24, 36, 48, 60, 72])
    return figure


def resource_bars(used: Mapping[str, Mapping[str, Interval]]) -> "go.Figure":
    """Share of each resource in use, by policy."""
    import plotly.graph_objects as go

    resources = list(next(iter(used.values())))
    figure = _figure(96 + 26 * len(used) * len(resources), barmode="group", bargap=0.3, bargroupgap=0.08)
    for place, (name, shares) in enumerate(used.items()):
        intervals = [shares[resource] for resource in resources]
        figure.add_trace(
            go.Bar(
                orientation="h",
                y=[_label(resource) for resource in resources],
                x=[_finite(interval.value) for interval in intervals],
                error_x=_error(intervals),
                name=_label(name),
                marker=_fill(place),
                hovertemplate="%{y}: %{x:.1%}<extra></extra>",
            )
        )
    figure.add_vline(x=1, line=dict(color=_INK, width=1.5, dash="dot"))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(legend_traceorder="normal", showlegend=True)
    figure.update_xaxes(title="share in use", tickformat=".0%", rangemode="tozero")
    return figure


def _fill(place: int) -> dict[str, Any]:
    """Colour and pattern of bars."""
    pattern = dict(shape=PATTERNS[place], fillmode="overlay", fgcolor="#ffffff", solidity=0.2, size=7)
    return dict(color=COLOURS[place], line=dict(color=_INK, width=1), pattern=pattern)


def training_chart(quantity: str, curves: Sequence[TrainingCurve], findings: Findings) -> "go.Figure":
    """One quantity over the training of each run, which has the colour of the policy that it is named after."""
    import plotly.graph_objects as go

    figure = _figure(300)
    names = in_order(findings)
    names += [curve.name for curve in curves if curve.name not in names]
    for curve in curves:
        known = np.isfinite(curve.series[quantity])
        kind = names.index(curve.name) % len(COLOURS)
        figure.add_trace(
            go.Scatter(
                x=curve.timesteps[known].tolist(),
                y=curve.series[quantity][known].tolist(),
                mode="lines",
                line=dict(color=COLOURS[kind], dash=DASHES[kind], width=2.5),
                name=_label(curve.name),
                hovertemplate="%{y:.3g} at %{x:,}<extra></extra>",
            )
        )
    figure.update_xaxes(title="time steps of training", nticks=6)
    figure.update_yaxes(nticks=6)
    figure.update_layout(showlegend=True)
    return figure
