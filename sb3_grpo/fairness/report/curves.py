"""How training went, read from what callbacks and loggers wrote."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from sb3_grpo.fairness.metrics import FloatArray

_TIMESTEPS: Final = "time/total_timesteps"
_CSV: Final = {
    "worst": ("group/worst", "eval/worst"),
    "gap": ("group/gap", "eval/gap"),
    "efficiency": ("eval/efficiency",),
    "reward": ("rollout/ep_rew_mean", "eval/mean_reward"),
}
"""Quantities by the columns of a progress.csv that hold them; the first that is there is taken."""
_NPZ: Final = {"worst": "worst", "gap": "gap", "efficiency": "efficiency", "reward": "results"}

QUANTITIES: Final = {
    "worst": "rate of the worst-off group",
    "gap": "gap between best and worst-off group",
    "efficiency": "efficiency",
    "reward": "mean reward of an episode",
}
"""What curves can show, in the order in which it is preferred."""


@dataclass(frozen=True, eq=False)
class TrainingCurve:
    """One training run.

    :param name: the run
    :param timesteps: (T,) ascending
    :param series: (T,) numbers by quantity, some of :data:`QUANTITIES`; NaN where nothing was measured
    """

    name: str
    timesteps: FloatArray
    series: dict[str, FloatArray]


def read_curve(name: str, path: str | Path) -> TrainingCurve:
    """Read a training run.

    :param name: what to call it
    :param path: ``evaluations.npz`` of an evaluation callback, or ``progress.csv`` of Stable-Baselines3's logger
    :raises ValueError: if the file is neither, or holds none of :data:`QUANTITIES`
    """
    path = Path(path)
    if path.suffix not in (".npz", ".csv"):
        raise ValueError(f"training[{name!r}]: got {str(path)!r}, expected an evaluations.npz or a progress.csv")
    timesteps, series = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    if not series or len(timesteps) == 0:
        raise ValueError(f"training[{name!r}]: {path} holds none of {list(QUANTITIES)} by time step")
    return TrainingCurve(name, timesteps, series)


def _read_npz(path: Path) -> tuple[FloatArray, dict[str, FloatArray]]:
    with np.load(path, allow_pickle=False) as content:
        if "timesteps" not in content:
            return np.empty(0), {}
        timesteps = np.asarray(content["timesteps"], dtype=np.float64)
        series = {}
        for quantity, key in _NPZ.items():
            if key in content:
                values = np.asarray(content[key], dtype=np.float64)
                series[quantity] = values if values.ndim == 1 else values.mean(axis=tuple(range(1, values.ndim)))
    return timesteps, series


def _read_csv(path: Path) -> tuple[FloatArray, dict[str, FloatArray]]:
    import pandas as pd

    table = pd.read_csv(path)
    if _TIMESTEPS not in table.columns:
        return np.empty(0), {}
    # A logger leaves a cell empty where it was told nothing; one row may hold evaluations only.
    table = table[table[_TIMESTEPS].notna()]
    series = {}
    for quantity, columns in _CSV.items():
        for column in columns:
            if column in table.columns and table[column].notna().any():
                series[quantity] = table[column].to_numpy(dtype=np.float64)
                break
    return table[_TIMESTEPS].to_numpy(dtype=np.float64), series
