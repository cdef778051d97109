"""What is kept of the episodes of a run: numbers for tables, and sums by episode and group for statistics."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.accumulate import accumulate
from sb3_grpo.fairness.evaluation_data import Evaluation
from sb3_grpo.fairness.metrics import group_metrics, policy_metrics, resource_use
from sb3_grpo.fairness.records import to_frame

SAME_FOR_ALL: Final = ("n", "demand")
"""Sums by episode and group that are the same for every policy: the patients who came. See :mod:`sb3_grpo.fairness.facts`."""

SUMS: Final = ("benefit", "treated", "wait_treated")
"""The others that are kept."""

_HUNDREDTHS: Final = ("benefit", "wait_treated", "cost")  # kept as whole hundredths: an episode has hundreds of units


def brief(evaluation: Evaluation) -> dict[str, Any]:
    """Rates and their extremes, pooled over the episodes; a number that does not exist is None."""
    metrics = policy_metrics(evaluation.totals, evaluation.costs)
    return {
        "worst": _known(metrics.worst),
        "gap": _known(metrics.gap),
        "efficiency": _known(metrics.efficiency),
        "cost_share": _known(metrics.cost_share),
        "rates": {name: _known(rate) for name, rate in zip(evaluation.group_names, metrics.rates, strict=True)},
        "reward": float(evaluation.returns.mean()),
    }


def measured(evaluation: Evaluation) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Everything that tables need of a policy's episodes, and its sums by episode.

    :param evaluation: what the policy did, with patient records
    :return: the numbers, and arrays (E, G) of :data:`SAME_FOR_ALL` and :data:`SUMS` and (E,) ``cost``, for :func:`packed`
    """
    episodes = evaluation.episodes
    if episodes is None:
        raise ValueError("evaluation: got no patient records, expected those of a hospital")
    patients = to_frame(episodes)
    counts = accumulate(patients, strata=None)
    metrics = group_metrics(counts, costs=episodes.costs, patients=patients).to_dict()
    use = resource_use(episodes.utilisation)
    numbers = {
        **brief(evaluation),
        "episodes": len(evaluation.costs),
        "decisions": float(evaluation.decisions.mean()),
        "invalid_share": float(evaluation.invalid_actions.sum() / evaluation.decisions.sum()),
        "n": metrics["n"],
        "groups": metrics["groups"],
        "overall": metrics["overall"],
        "indices": metrics["indices"],
        "utilisation": {name: _known(share) for name, share in use["utilisation"].items()},
    }
    order = [(episode, group) for episode in np.unique(episodes.records["episode"]) for group in evaluation.group_names]
    table = counts.sums.groupby(level=["episode", "group"]).sum().reindex(order, fill_value=0.0)
    shape = (len(evaluation.costs), len(evaluation.group_names))
    sums = {name: table[name].to_numpy(dtype=np.float64).reshape(shape) for name in (*SAME_FOR_ALL, *SUMS)}
    return numbers, {**sums, "cost": evaluation.costs}


def packed(by_mode: Mapping[str, Mapping[str, npt.NDArray[Any]]]) -> bytes:
    """Sums by episode as a compressed ``.npz`` file; the same bytes for the same sums.

    :param by_mode: by mode what :func:`measured` returned; the same patients came in each
    """
    first = next(iter(by_mode.values()))
    arrays = {name: first[name] for name in SAME_FOR_ALL}
    for mode, sums in by_mode.items():
        arrays |= {f"{mode}/{name}": sums[name] for name in (*SUMS, "cost")}
    whole = {key: np.rint(values * _scale(key)).astype(np.int32) for key, values in arrays.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **whole)
    return buffer.getvalue()


def unpacked(path: Path, mode: str, name: str) -> npt.NDArray[np.float64]:
    """One array of a file that :func:`packed` made.

    :param path: the file
    :param mode: the mode
    :param name: name of the array
    """
    key = name if name in SAME_FOR_ALL else f"{mode}/{name}"
    with np.load(path) as arrays:
        return np.asarray(arrays[key] / _scale(key), dtype=np.float64)


def _scale(key: str) -> float:
    return 100.0 if key.rpartition("/")[2] in _HUNDREDTHS else 1.0


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
