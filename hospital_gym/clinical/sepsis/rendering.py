"""A course of treatment as text and as a picture."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.sepsis.course import HOURS_PER_STEP, Courses
from hospital_gym.clinical.sepsis.modalities import MODALITIES, column
from hospital_gym.clinical.sepsis.observation import NOBODY

_LIMIT: Final = 3.0
"""Colours end at so many units of the state vector."""


def _heading(courses: Courses, patient: int, group_names: Sequence[str]) -> str:
    hours = int(courses.times[patient] * HOURS_PER_STEP)
    sofa = courses.mdp.sofa[courses.states[patient]]
    over = "" if courses.running[patient] else ", over"
    return f"Episode {courses.episodes[patient]}, {group_names[courses.group[patient]]}: {hours} h, SOFA {sofa:.1f}{over}"


def print_course(courses: Courses, patient: int, group_names: Sequence[str]) -> str:
    """
    :param courses: the courses
    :param patient: number of one of them
    :param group_names: names of the groups
    :return: lines of text: who it is, the states seen, and what may be done
    """
    mdp, states = courses.mdp, [int(state) for state in courses.histories[patient] if state != NOBODY]
    levels = [f"{action // 5}/{action % 5}" for action in np.flatnonzero(mdp.admissible[states[-1]])]
    lines = [f"  state {state}: SOFA {mdp.sofa[state]:.1f}" for state in states]
    return "\n".join(
        [_heading(courses, patient, group_names), *lines, f"  admissible fluids/vasopressors: {' '.join(levels)}"]
    )


def draw_course(courses: Courses, patient: int, group_names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """
    The same arguments.

    :return: a picture, (height, width, 3): the channels of each modality over the states seen, red above the mean
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    history = courses.histories[patient]
    rows = np.full((len(history), courses.mdp.centres.shape[1]), np.nan)
    rows[history != NOBODY] = courses.mdp.centres[history[history != NOBODY]]
    figure = Figure(figsize=(9.6, 3.6), dpi=80)
    figure.subplots_adjust(left=0.09, right=0.99, bottom=0.13, top=0.84, wspace=0.9)
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(f"{_heading(courses, patient, group_names)}", fontsize=10)
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
