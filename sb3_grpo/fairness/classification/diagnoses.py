"""The answers that one method gave to a table of cases, and every metric of them, for many resamples at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.classification.counts import MIN_CELL, Counts, FloatArray, answer_counts, conditions, eligible_groups
from sb3_grpo.fairness.classification.ranking import area_under_curve
from sb3_grpo.fairness.classification.rates import DISPARITIES, RATES, disparities, rates

AUC: Final = "auc"

METRICS: Final = {**RATES, AUC: "area under the ROC curve", **DISPARITIES}
"""Every metric, and what it is called. Disparities are means over the attributes; ``"sex:ppv_gap"`` is that of one."""


class Attribute(NamedTuple):
    """A way of forming groups.

    :param ids: (N,) group of each case, 0 to G - 1
    :param names: names of the G groups
    """

    ids: npt.NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Diagnoses:
    """
    N cases and what a method said about them, in each of S trainings. Every case was held out when it was answered.

    :param label: (N,) right answers, 0 to K - 1
    :param probability: (S, N, K) probability of each answer; the answer is the most probable one
    :param attributes: ways of forming groups, by name
    :param patient: (N,) number of the patient, the unit of all intervals
    :param min_cell: see :func:`~sb3_grpo.fairness.classification.counts.eligible_groups`
    """

    label: npt.NDArray[np.int64]
    probability: npt.NDArray[np.floating]
    attributes: Mapping[str, Attribute]
    patient: npt.NDArray[np.int64]
    min_cell: int = MIN_CELL

    @property
    def n_classes(self) -> int:
        """Number of answers, K."""
        return int(self.probability.shape[2])

    @cached_property
    def units(self) -> tuple[int, npt.NDArray[np.int64]]:
        """Number of patients P, and each case's patient, 0 to P - 1."""
        numbers, index = np.unique(self.patient, return_inverse=True)
        return len(numbers), index.reshape(-1).astype(np.int64)

    def eligible(self, attribute: str) -> npt.NDArray[np.intp]:
        """Numbers of the groups that are compared."""
        ids, names = self.attributes[attribute]
        return np.flatnonzero(eligible_groups(self.label, ids, len(names), self.n_classes, self.min_cell))

    def counts(self, attribute: str | None = None) -> Counts:
        """
        What each patient contributes, averaged over the trainings.

        :param attribute: how groups are formed; None: one group
        :return: (P, G, K') each, of the groups that are compared
        """
        if attribute is None:
            ids, names = Attribute(np.zeros(len(self.label), dtype=np.int64), ("all",))
        else:
            ids, names = self.attributes[attribute]
        chosen = np.array([0]) if attribute is None else self.eligible(attribute)
        each = answer_counts(self.label, self.probability.argmax(axis=2), ids, len(names), self.n_classes)
        n, index = self.units
        summed = []
        for part in each:
            total = np.zeros((n, *part.shape[1:]))
            np.add.at(total, index, part)
            summed.append(total[:, chosen])
        return Counts(*summed)

    def all_counts(self) -> dict[str | None, Counts]:
        """:meth:`counts` of all cases (key None) and by attribute."""
        return {key: self.counts(key) for key in (None, *self.attributes)}

    def statistic(self, names: tuple[str, ...]) -> Callable[[FloatArray], FloatArray]:
        """
        Metrics as a function of how often each patient occurs.

        :param names: of the metrics: keys of :data:`METRICS`, or ``"attribute:disparity"``
        :return: maps (R, P) to (M, R)
        """
        every = self.all_counts()
        units = self.units[1]

        def statistic(weights: FloatArray) -> FloatArray:
            found = metrics_of_counts(
                {key: Counts(*(np.tensordot(weights, part, axes=(1, 0)) for part in each)) for key, each in every.items()}
            )
            if AUC in names:
                found[AUC] = self._auc(weights[:, units])
            return np.stack([found[name] for name in names])

        return statistic

    def _auc(self, weights: FloatArray) -> FloatArray:
        """Mean over trainings and conditions."""
        which = conditions(self.n_classes)
        areas = [
            area_under_curve(self.label == k, self.probability[s, :, k], weights)
            for s in range(len(self.probability))
            for k in which
        ]
        return np.asarray(np.mean(areas, axis=0))


def metrics_of_counts(counts: Mapping[str | None, Counts]) -> dict[str, FloatArray]:
    """
    Every metric that counts can tell, all but the area under the ROC curve.

    :param counts: of all cases (key None) and by attribute, (R, G, K') each
    :return: (R,) by name: keys of :data:`METRICS`, and ``"attribute:disparity"``
    """
    found = {name: rates(counts[None], name).mean(axis=(-2, -1)) for name in RATES}
    each = {key: disparities(of) for key, of in counts.items() if key is not None}
    for key, values in each.items():
        found |= {f"{key}:{name}": value for name, value in values.items()}
    compared = [key for key in each if counts[key].tp.shape[-2] > 1]
    for name in DISPARITIES:
        nothing = np.full(found["f1"].shape, np.nan)
        found[name] = np.mean([each[key][name] for key in compared], axis=0) if compared else nothing
    return found
