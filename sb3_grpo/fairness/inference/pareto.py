"""Which policies are not beaten in both efficiency and worst group, and how much of the plane they dominate."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.metrics import FloatArray


@dataclass(frozen=True)
class ParetoFront:
    """Policies that no other policy beats.

    :param members: (n,) whether each policy is on the front
    :param hypervolume: area that the front dominates above the reference point
    :param reference: the reference point (efficiency, worst group) below which nothing counts
    """

    members: npt.NDArray[np.bool_]
    hypervolume: float
    reference: tuple[float, float]


def pareto_front(points: npt.ArrayLike, reference: tuple[float, float] = (0.0, 0.0)) -> ParetoFront:
    """The policies for which no other is at least as good in both coordinates and better in one; equal ones stay together.

    The front is one of estimates: policies that lie within each other's intervals are not told apart by it.

    :param points: (n, 2) efficiency and worst group's rate of each policy, larger is better; a row with NaN is on no front
    :param reference: (efficiency, worst group) from which the area counts; say it beside the number
    :return: the front
    :raises ValueError: if the shape is another or the reference point is not finite
    """
    xy = np.asarray(points, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"points: got shape {xy.shape}, expected (policies, 2)")
    if not np.isfinite(reference).all():
        raise ValueError(f"reference: got {reference}, expected two finite numbers")
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(xy).all(axis=1))
    at_least = (xy[None] >= xy[:, None]).all(axis=2) & known[None]
    better = (xy[None] > xy[:, None]).any(axis=2)
    members = known & ~(at_least & better).any(axis=1)
    return ParetoFront(members, _area(xy[members], reference), (float(reference[0]), float(reference[1])))


def _area(front: FloatArray, reference: tuple[float, float]) -> float:
    """Area of the union of the rectangles from the reference point to each point of a front."""
    above = front[(front > np.asarray(reference)).all(axis=1)]
    above = above[np.argsort(-above[:, 0])]  # from the right; the second coordinate then rises along a front
    height, area = float(reference[1]), 0.0
    for x, y in above:
        area += (x - reference[0]) * max(y - height, 0.0)
        height = max(height, float(y))
    return float(area)
