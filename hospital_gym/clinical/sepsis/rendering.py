"""A course of treatment as text and as a picture."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.sepsis.course import HOURS_PER_STEP, Course
from hospital_gym.clinical.sepsis.modalities import MODALITIES, column
from hospital_gym.clinical.sepsis.observation import NOBODY

_LIMIT: Final = 3.0
"""Colours end at so many units of the state vector."""


def _heading(course: Course, group_names: Sequence[str]) -> str:
    hours, sofa = int(course.time * HOURS_PER_STEP), course.mdp.sofa[course.state]
    over = "" if course.running else ", over"
    return f"Episode {course.episode}, {group_names[course.group]}: {hours} h, SOFA {sofa:.1f}{over}"


def print_course(course: Course, group_names: Sequence[str]) -> str:
    """
    :param course: the course
    :param group_names: names of the groups
    :return: lines of text: who it is, the states seen, and what may be done
    """
    mdp, states = course.mdp, [state for state in course.history if state != NOBODY]
    levels = [f"{action // 5}/{action % 5}" for action in np.flatnonzero(mdp.admissible[course.state])]
    lines = [f"  state {state}: SOFA {mdp.sofa[state]:.1f}" for state in states]
    return "\n".join([_heading(course, group_names), *lines, f"  admissible fluids/vasopressors: {' '.join(levels)}"])


def draw_course(course: Course, group_names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """
    The same arguments.

    :return: a picture, (height, width, 3): the channels of each modality over the states seen, red above the mean
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    history = np.array(course.history)
    rows = np.full((len(history), course.mdp.centres.shape[1]), np.nan)
    rows[history != NOBODY] = course.mdp.centres[history[history != NOBODY]]
    figure = Figure(figsize=(9.6, 3.6), dpi=80)
    figure.subplots_adjust(left=0.09, right=0.99, bottom=0.13, top=0.84, wspace=0.9)
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(_heading(course, group_names), fontsize=10)
    for axes, (name, channels) in zip(figure.subplots(1, len(MODALITIES)), MODALITIES.items(), strict=True):
        values = rows[:, [column(channel) for channel in channels]].T
        axes.imshow(values, aspect="auto", cmap="RdBu_r", vmin=-_LIMIT, vmax=_LIMIT, interpolation="nearest")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_yticks(range(len(channels)), channels, fontsize=5)
        ago = round((1 - len(history)) * HOURS_PER_STEP)
        axes.set_xticks([0, len(history) - 1], [str(ago), "now"], fontsize=7)
        axes.set_xlabel("hours", fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
