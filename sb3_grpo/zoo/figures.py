"""Figures where there is no display: RL Zoo shows them in windows, here they become files."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path


def save_figures(draw: Callable[[], object], folder: str) -> list[str]:
    """Draw, and save every figure.

    :param draw: makes figures with pyplot, and may ask for windows
    :param folder: where ``<title of the window>.png`` of each goes
    :return: the files
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.close("all")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
        warnings.filterwarnings("ignore", "No artists with labels found")
        draw()
    files = []
    for number in plt.get_fignums():
        figure = plt.figure(number)
        name = re.sub(r"\W+", "-", str(figure.get_label() or f"figure {number}")).strip("-").lower()
        files.append(str(Path(folder) / f"{name}.png"))
        Path(folder).mkdir(parents=True, exist_ok=True)
        figure.savefig(files[-1], dpi=150)
    plt.close("all")
    return files
