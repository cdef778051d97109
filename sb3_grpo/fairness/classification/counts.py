"""Right and wrong answers, counted case by case: sums of these are what every rate is a ratio of."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

MIN_CELL: Final = 20
"""A group enters a comparison with at least so many cases that have the condition, and so many that do not."""


class Counts(NamedTuple):
    """True and false positives and negatives; any shape whose last two axes are G groups and K' conditions.

    :param tp: said to have the condition, and has it
    :param fp: said to have it, and does not
    :param fn: said not to have it, and does
    :param tn: said not to have it, and does not
    """

    tp: FloatArray
    fp: FloatArray
    fn: FloatArray
    tn: FloatArray

    def pooled(self) -> "Counts":
        """All groups together: G becomes 1."""
        return Counts(*(part.sum(axis=-2, keepdims=True) for part in self))


def conditions(n_classes: int) -> npt.NDArray[np.int64]:
    """
    What can be had or not had. With two answers it is the second, "positive", one; with more it is each in turn.

    :param n_classes: number of answers, K
    :return: (K',)
    """
    return np.array([1]) if n_classes == 2 else np.arange(n_classes)


def answer_counts(
    label: npt.ArrayLike, answer: npt.ArrayLike, group: npt.ArrayLike, n_groups: int, n_classes: int = 2
) -> Counts:
    """
    Each case's contribution, averaged over several trainings of the method.

    :param label: (N,) right answers, 0 to K - 1
    :param answer: (N,) answers, or (S, N) those of S trainings
    :param group: (N,) groups, 0 to G - 1
    :param n_groups: G
    :param n_classes: K
    :return: (N, G, K') each
    :raises ValueError: if shapes do not match or a number is out of range
    """
    right, answers, groups = np.asarray(label), np.atleast_2d(np.asarray(answer)), np.asarray(group)
    for key, values, most in (("label", right, n_classes), ("answer", answers, n_classes), ("group", groups, n_groups)):
        if values.shape[-1:] != right.shape or values.size == 0 or values.min() < 0 or values.max() >= most:
            raise ValueError(f"{key}: got shape {values.shape}, expected {right.shape[:1]} numbers from 0 to {most - 1}")
    which = conditions(n_classes)
    member = (groups[:, None] == np.arange(n_groups))[:, :, None]  # (N, G, 1)
    has = (right[:, None] == which)[:, None, :]  # (N, 1, K')
    said = (answers[:, :, None] == which).mean(axis=0)[:, None, :]  # (N, 1, K'), share of the trainings
    return Counts(
        *(
            np.where(member, truth * saying, 0.0)
            for truth, saying in ((has, said), (~has, said), (has, 1.0 - said), (~has, 1.0 - said))
        )
    )


def eligible_groups(
    label: npt.ArrayLike, group: npt.ArrayLike, n_groups: int, n_classes: int = 2, min_cell: int = MIN_CELL
) -> npt.NDArray[np.bool_]:
    """
    Which groups are compared. Labels alone decide, so that it is the same groups for every method.

    :param label: (N,) right answers
    :param group: (N,) groups
    :param n_groups: G
    :param n_classes: K
    :param min_cell: least number of cases with, and without, the condition
    :return: (G,) whether that holds for every condition
    """
    counts = answer_counts(label, label, group, n_groups, n_classes)
    having, others = counts.tp.sum(axis=0), counts.tn.sum(axis=0)
    return np.asarray((np.minimum(having, others) >= min_cell).all(axis=-1))
