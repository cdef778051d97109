"""A stay as text and as a picture."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hospital_gym.clinical.early_warning import Watch


def _heading(watch: "Watch", position: int, hour: int, escalated: bool) -> str:
    stay, group = watch.stays.stay_ids[watch.rows[position]], watch.group_names[watch.group[position]]
    text = f"Stay {stay}, {group}: {hour + 1} of {watch.hours[position]} hours seen"
    return f"{text}, escalated" if escalated else text


def print_stay(watch: "Watch", position: int, hour: int, escalated: bool) -> str:
    """
    :param watch: the stays
    :param position: which of them
    :param hour: the newest hour that is seen, from 0
    :param escalated: whether the alarm was raised
    :return: lines of text: who it is, and of each channel the newest value and how many hours ago it was measured
    """
    values = watch.stays.stay(int(watch.rows[position]))[: hour + 1]
    lines = [_heading(watch, position, hour, escalated)]
    for place, channel in enumerate(watch.stays.channels):
        measured = np.flatnonzero(np.isfinite(values[:, place]))
        if len(measured):
            value, ago = values[measured[-1], place], hour - measured[-1]
            unit = f" {channel.unit}" if channel.unit else ""
            lines.append(f"  {channel.modality}: {channel.name} {value:.4g}{unit}, {ago} h ago")
    return "\n".join(lines)


def draw_stay(watch: "Watch", position: int, hour: int, escalated: bool) -> npt.NDArray[np.uint8]:
    """
    The same arguments.

    :return: a picture, (height, width, 3): channels by modality over time, in deviations from the training stays' mean
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stays = watch.stays
    scaled = watch.observations.scales.channels.apply(stays.stay(int(watch.rows[position])))
    shown = np.full((watch.hours[position], scaled.shape[1]), np.nan)
    shown[: hour + 1] = scaled[: hour + 1]
    figure = Figure(figsize=(7.0, 7.0), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    heights = [len(places) for places in stays.modalities.values()]
    panels = np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    for axes, (name, places) in zip(panels, stays.modalities.items(), strict=True):
        picture = axes.imshow(shown[:, places].T, aspect="auto", cmap="RdBu_r", vmin=-3, vmax=3, interpolation="nearest")
        axes.set_yticks(range(len(places)), [stays.channels[place].name for place in places], fontsize=6)
        axes.set_title(name.replace("_", " "), fontsize=7, loc="left", pad=2)
        axes.axvline(hour + 0.5, color="crimson" if escalated else "black", linewidth=2.0 if escalated else 0.8)
    panels[-1].set_xlabel("hours since admission")
    bar = figure.colorbar(picture, ax=panels.tolist(), shrink=0.4)
    bar.set_label("deviations from the training stays' mean", fontsize=7)
    figure.suptitle(_heading(watch, position, hour, escalated), fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
