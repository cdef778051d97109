"""A case as text and as a picture."""

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.case_table import CaseTable

if TYPE_CHECKING:
    from hospital_gym.clinical.cases import Cases

MOST_BARS: Final = 20
"""So many entries of the observation are drawn, the farthest from the average first."""


def _heading(table: CaseTable, row: int, answer: int | None) -> list[str]:
    group, source = table.group_names[table.group_id[row]], table.source_names[table.source_id[row]]
    lines = [f"Case {table.case_ids[row]}, {group}, from {source}"]
    if answer is not None:
        right = table.label_names[table.label[row]]
        lines.append(f"Answer: {table.label_names[answer]}. Right: {right}.")
    return lines


def print_case(
    table: CaseTable, row: int, observation: npt.NDArray[np.float32], cases: "Cases", answer: int | None = None
) -> str:
    """
    :param table: cases
    :param row: of the case
    :param observation: (D,) the case as the agent sees it
    :param cases: what it is presented among
    :param answer: the answer, None while there is none
    :return: lines of text: who it is, the features as measured, the answer and what was right
    """
    features = table.features.iloc[row]
    lines = [f"  {name}: {'missing' if value != value else value}" for name, value in features.items()]
    return "\n".join([*_heading(table, row, answer), *lines])


def draw_case(
    table: CaseTable, row: int, observation: npt.NDArray[np.float32], cases: "Cases", answer: int | None = None
) -> npt.NDArray[np.uint8]:
    """
    The same arguments.

    :return: a picture, (height, width, 3): the entries of the observation that are farthest from the average
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = np.argsort(-np.abs(observation), kind="stable")[:MOST_BARS][::-1]
    figure = Figure(figsize=(6.4, 4.8), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.barh(range(len(shown)), observation[shown], color="#3b6ea5")
    axes.set_yticks(range(len(shown)), [cases.preprocessing.names[k] for k in shown], fontsize=7)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel("deviations from the training cases' mean; 1 or 0 for a category")
    axes.set_title("\n".join(_heading(table, row, answer)), fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
