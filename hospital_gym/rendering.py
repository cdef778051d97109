"""A picture of the hospital now: how full the wards are, who waits how long, and what each group got so far."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.records import BED_TYPES, SEVERITIES
from hospital_gym.simulator.layout import IN_BED, WAITING

_SEVERITY_COLOURS: Final = ("#4c9f70", "#e0a030", "#c0392b")
_GREY, _FREE, _INK = "#9aa5b1", "#eef1f4", "#1f2933"
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _moment(time: float) -> str:
    day = int(time // 24)
    return f"day {day + 1}, {_WEEKDAYS[day % 7]} {int(time % 24):02d}:{int(time * 60 % 60):02d}"


def _benefit_rates(simulator: Any) -> npt.NDArray[np.float64]:
    """Benefit rate of each group over the patients decided since control began; NaN where nobody was."""
    patients = simulator.patients
    decided = patients["decided"] >= 0.0
    n_groups = len(simulator.grouping.names)
    group = patients["group"][decided]
    benefit = np.bincount(group, weights=patients["benefit"][decided], minlength=n_groups)
    demand = np.bincount(group, weights=patients["demand"][decided], minlength=n_groups)
    return np.divide(benefit, demand, out=np.full(n_groups, np.nan), where=demand > 0)


def _waiting(simulator: Any) -> Any:
    """The patients who wait, in order of arrival."""
    patients = simulator.patients
    return patients[patients["status"] == WAITING]


def print_hospital(simulator: Any) -> str:
    """The hospital as text, a line per ward and per group.

    :param simulator: a :class:`hospital_gym.simulator.simulator.Simulator`
    """
    state = simulator.state
    lines = [f"{simulator.scenario.name}: {_moment(simulator.time)}"]
    for bed, name in enumerate(BED_TYPES):
        taken, capacity = int(state.occupied[bed]), int(state.capacity[bed])
        lines.append(f"  {name:<11}{taken:>4} of {capacity:>3} beds taken")
    waiting, rates = _waiting(simulator), _benefit_rates(simulator)
    for g, name in enumerate(simulator.grouping.names):
        waits = simulator.time - waiting["arrival"][waiting["group"] == g]
        shown = f"longest {waits.max():5.1f} h, mean {waits.mean():5.1f} h" if len(waits) else "-"
        rate = "  n/a" if np.isnan(rates[g]) else f"{rates[g]:5.2f}"
        lines.append(f"  {name:<11}{len(waits):>4} waiting  {shown:<31} benefit rate so far {rate}")
    lines.append(f"  budget {state.budget:.1f}, transfer slots {state.slots:.1f}")
    return "\n".join(lines)


def draw_hospital(simulator: Any) -> npt.NDArray[np.uint8]:
    """The hospital as a picture, uint8 of shape (600, 1200, 3).

    :param simulator: a :class:`hospital_gym.simulator.simulator.Simulator`
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), dpi=100, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    wards, queue, rates = figure.subplots(1, 3, width_ratios=(3, 5, 2))
    figure.suptitle(f"{simulator.scenario.name} hospital, {_moment(simulator.time)}", color=_INK, fontsize=15)
    _draw_wards(wards, simulator)
    _draw_queue(queue, simulator)
    _draw_rates(rates, simulator)
    for axes in (wards, queue, rates):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=0, colors=_INK)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_wards(axes: Any, simulator: Any) -> None:
    """A bar per bed type: patients by severity, free beds, closed beds."""
    state, patients = simulator.state, simulator.patients
    in_bed = patients[patients["status"] == IN_BED]
    for bed in range(len(BED_TYPES)):
        left = 0
        counts = np.bincount(in_bed["severity"][in_bed["bed"] == bed], minlength=len(SEVERITIES))
        for severity, count in enumerate(counts):
            axes.bar(bed, count, bottom=left, color=_SEVERITY_COLOURS[severity], width=0.7)
            left += int(count)
        free = max(0, int(state.capacity[bed]) - left)
        closed = max(0, int(simulator.scenario.beds[bed]) - int(state.capacity[bed]))
        axes.bar(bed, free, bottom=left, color=_FREE, edgecolor=_GREY, width=0.7)
        axes.bar(bed, closed, bottom=left + free, color="white", edgecolor=_GREY, hatch="//", width=0.7)
        axes.text(bed, left + free + closed, f"{left} of {int(state.capacity[bed])}", ha="center", va="bottom", color=_INK)
    axes.set_xticks(range(len(BED_TYPES)), BED_TYPES)
    axes.set_title("Beds taken", loc="left", color=_INK)
    axes.set_ylim(0, 1.12 * max(max(simulator.scenario.beds), max(int(c) for c in state.capacity), *state.occupied))


def _draw_queue(axes: Any, simulator: Any) -> None:
    """A dot per waiting patient: hours waited, in the row of the group, filled once the target is passed."""
    waiting, names = _waiting(simulator), simulator.grouping.names
    targets = np.asarray(simulator.scenario.target_wait)
    hours = simulator.time - waiting["arrival"]
    late = hours > targets[waiting["severity_arrival"]]
    place = np.zeros(len(waiting))
    for g in range(len(names)):  # spread the dots of a row so that none hides another
        mine = np.flatnonzero(waiting["group"] == g)
        place[mine] = g + 0.62 * ((np.arange(len(mine)) * 0.381966) % 1.0 - 0.5)
    for severity, name in enumerate(SEVERITIES):
        mine = waiting["severity"] == severity
        colour = _SEVERITY_COLOURS[severity]
        axes.scatter(hours[mine & late], place[mine & late], s=42, color=colour, edgecolor=colour, label=name)
        axes.scatter(hours[mine & ~late], place[mine & ~late], s=42, facecolor="white", edgecolor=colour, linewidth=1.5)
    counts = [int((waiting["group"] == g).sum()) for g in range(len(names))]
    axes.set_yticks(range(len(names)), [f"{name}\n{count} waiting" for name, count in zip(names, counts, strict=True)])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, max(24.0, 1.05 * float(hours.max(initial=0.0))))
    axes.grid(axis="x", color=_FREE)
    axes.set_axisbelow(True)
    axes.set_xlabel("hours waited")
    axes.set_title("Who waits how long (filled: past the target)", loc="left", color=_INK)
    axes.legend(loc="lower right", frameon=False)


def _draw_rates(axes: Any, simulator: Any) -> None:
    """A bar per group: the share of the ideal benefit it received so far."""
    rates, names = _benefit_rates(simulator), simulator.grouping.names
    known = np.nan_to_num(rates)
    worst = np.nanargmin(rates) if np.isfinite(rates).any() else -1
    axes.barh(range(len(names)), known, color=["#c0392b" if g == worst else "#4a6fa5" for g in range(len(names))], height=0.6)
    for g, rate in enumerate(rates):
        axes.text(
            0.03, g, "nobody yet" if np.isnan(rate) else f"{rate:.2f}", va="center", color="white" if known[g] > 0.3 else _INK
        )
    axes.set_yticks(range(len(names)), [""] * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_title("Benefit rate so far", loc="left", color=_INK)
