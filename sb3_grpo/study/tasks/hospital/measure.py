"""What is kept of the episodes of a run: numbers for tables, and sums by episode and group for statistics."""

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.accumulate import accumulate
from sb3_grpo.fairness.evaluation_data import Evaluation
from sb3_grpo.fairness.metrics import group_metrics, policy_metrics, resource_use
from sb3_grpo.fairness.records import to_frame

SUMS: Final = ("n", "demand", "benefit", "treated", "finished", "success", "wait_treated", "in_time", "left", "died")
"""Facts whose sums by episode and group are kept, see :mod:`sb3_grpo.fairness.facts`."""

_DIGITS: Final = 4  # of sums over an episode: four more than a rate's intervals have


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
    :return: the numbers, and arrays (E, G) of :data:`SUMS`, ``cost`` (E,), ``return`` (E,) and ``utilisation`` (E, R, 2)
    """
    episodes = evaluation.episodes
    if episodes is None:
        raise ValueError("evaluation: got no patient records, expected those of a hospital")
    counts = accumulate(to_frame(episodes), strata=None)
    metrics = group_metrics(counts, costs=episodes.costs, similar=None).to_dict()
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
    arrays = {name: np.round(table[name].to_numpy(dtype=np.float64), _DIGITS).reshape(shape) for name in SUMS}
    arrays["cost"], arrays["return"] = (np.round(values, _DIGITS) for values in (evaluation.costs, evaluation.returns))
    arrays["utilisation"] = np.round(np.stack(list(episodes.utilisation.values()), axis=1), 1).astype(np.float32)
    return numbers, {name: _small(values) for name, values in arrays.items()}


def packed(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays as a compressed ``.npz`` file; the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def _small(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Whole numbers as such, others in single precision."""
    whole = np.rint(values)
    if np.array_equal(whole, values) and np.abs(whole).max(initial=0) < np.iinfo(np.int16).max:
        return whole.astype(np.int16)
    return values.astype(np.float32)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
