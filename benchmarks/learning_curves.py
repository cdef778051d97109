"""Whether the fast update learns what SB3's own does: the same trainings with ``fast=True`` and ``fast=False``.

    python -m benchmarks.learning_curves --markdown docs/results/benchmark-curves.md --image docs/images/benchmark-curves.png

Benefit rates, less the share of the cost, in training, of all patients and of the worst group, at four times in training.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import joblib
import matplotlib
import numpy as np
import numpy.typing as npt
import torch as th
from matplotlib.figure import Figure
from rich.progress import track
from scipy import stats
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from benchmarks.tables import Measured, machine, report
from sb3_grpo import GroupRobustPPO, make_vec_env
from sb3_grpo.common.group_performance import pooled_performance

ENV: Final = "Hospital-Rural-v0"
QUANTITIES: Final = ("all patients", "worst group", "gap")
SHARES: Final = (0.25, 0.5, 0.75, 1.0)
SETTINGS: Final[dict[str, Any]] = {
    "lam": 0.3,
    "gamma": 0.999,
    "n_steps": 128,
    "batch_size": 512,
    "gae_lambda": 0.98,
    "n_epochs": 4,
    "policy_kwargs": {"net_arch": [128, 128]},
}
LEARNING_RATE: Final = LinearSchedule(3e-4, 0.0, 1.0)


class Curve(BaseCallback):
    """Keeps what the algorithm knows of its groups after every rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[float, ...]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        state = self.model.group_state  # type: ignore[attr-defined]
        if state is not None:
            values = state["performance"]["value"]
            pooled = float(pooled_performance(state["performance"]))
            self.points.append((self.num_timesteps, pooled, float(values.min()), float(np.ptp(values))))


def train(seed: int, fast: bool, steps: int) -> npt.NDArray[np.float64]:
    """Steps and the :data:`QUANTITIES` after every rollout, (rollouts, 4)."""
    th.set_num_threads(1)
    env = VecNormalize(make_vec_env(ENV, 16), norm_obs=False, gamma=SETTINGS["gamma"])
    curve = Curve()
    model = GroupRobustPPO("MaskedMlpPolicy", env, **SETTINGS, learning_rate=LEARNING_RATE, fast=fast, seed=seed, device="cpu")
    model.learn(steps, callback=curve)
    return np.array(curve.points)


def interval(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean over seeds, and half of its 95 % interval (Student's t); seeds on the first axis."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values, axis=0)
    return values.mean(axis=0), np.asarray(half)


def table(slow: npt.NDArray[np.float64], fast: npt.NDArray[np.float64]) -> Measured:
    """Means at four times, their intervals, and whether each mean is in the other's interval."""
    rows: list[tuple[str, ...]] = []
    for share in SHARES:
        place = round(share * slow.shape[1]) - 1
        for quantity, name in enumerate(QUANTITIES, start=1):
            (one, half), (other, other_half) = interval(slow[:, place, quantity]), interval(fast[:, place, quantity])
            within = abs(one - other) <= min(half, other_half)
            words = [f"{mean:.4f} ± {width:.4f}" for mean, width in ((one, half), (other, other_half))]
            rows.append((f"{slow[0, place, 0]:,.0f}", name, *words, "yes" if within else "no"))
    return Measured(("steps", "", "fast=False", "fast=True", "each in the other's interval"), rows)


def draw(slow: npt.NDArray[np.float64], fast: npt.NDArray[np.float64], path: Path) -> None:
    """All curves: thin lines are seeds, thick ones their means."""
    matplotlib.rcParams["svg.hashsalt"] = "curves"
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (quantity, name) in zip(figure.subplots(1, 3), enumerate(QUANTITIES, start=1), strict=True):
        for curves, colour, label in ((slow, "#555555", "fast=False"), (fast, "#0072b2", "fast=True")):
            axes.plot(curves[0, :, 0], curves[:, :, quantity].T, color=colour, linewidth=0.5, alpha=0.5)
            axes.plot(curves[0, :, 0], curves[:, :, quantity].mean(axis=0), color=colour, linewidth=2, label=label)
        axes.set(title=name, xlabel="steps")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> int:
    """Train and compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N-1 (%(default)s)")
    parser.add_argument("--steps", type=int, default=300_000, metavar="N", help="steps of each training (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="trainings side by side (%(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    parser.add_argument("--image", type=Path, metavar="FILE", help="draw the curves")
    options = parser.parse_args(argv)
    load, runs = os.getloadavg()[0], list(itertools.product((False, True), range(options.seeds)))
    jobs = joblib.Parallel(options.jobs, return_as="generator")(
        joblib.delayed(train)(seed, fast, options.steps) for fast, seed in runs
    )
    curves = list(track(jobs, "Training ...", total=len(runs)))
    slow, fast = np.array(curves[: options.seeds]), np.array(curves[options.seeds :])
    note = (
        f"{ENV}, {options.seeds} seeds, perceptrons that begin from nothing. Benefit rates less the share of the cost, in "
        "training; mean over seeds and half of its 95 % interval (Student's t). The same random numbers draw the same actions "
        "until rounding has grown enough to change one."
    )
    note += f"\n\n{machine(load, f'PyTorch {th.__version__}')}"
    report([table(slow, fast)], note, options.markdown)
    if options.image is not None:
        draw(slow, fast, options.image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
