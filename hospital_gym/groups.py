"""Which patients form a group: the published four, or every combination of attributes.

Groups are fixed at arrival, so that neglect cannot move a patient from one group to another.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from hospital_gym.records import AGE_BANDS, QUINTILES, SEVERITIES, SEXES
from hospital_gym.scenarios import Scenario

PUBLISHED_GROUPS: Final = ("pediatric", "adult", "elderly", "critical")
"""Non-critical patients by age band, and critical patients of any age (severity at arrival)."""

_CRITICAL: Final = SEVERITIES.index("critical")
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "age_band": AGE_BANDS,
    "sex": SEXES,
    "quintile": QUINTILES,
    "severity": SEVERITIES,
}


class Grouping:
    """Group numbers, names and expected demand shares.

    ``table`` (3, 2, 5, 3) int16 holds the group by age band, sex, quintile - 1 and severity at arrival.

    :param scenario: the hospital, for the expected share of each group
    :param group_by: attributes among ``age_band``, ``sex``, ``quintile`` and ``severity`` (at arrival) whose combinations
        are the groups; None for the four published groups
    :raises ValueError: if an attribute is unknown, repeated or missing
    """

    def __init__(self, scenario: Scenario, group_by: Sequence[str] | None = None) -> None:
        if group_by is not None:
            listed = isinstance(group_by, (list, tuple)) and all(isinstance(a, str) and a in _VALUES for a in group_by)
            if not listed or not group_by or len(set(group_by)) != len(group_by):
                raise ValueError(f"group_by: got {group_by!r}, expected different attributes among {sorted(_VALUES)}, or None")
        self.group_by = None if group_by is None else tuple(group_by)
        self.names = PUBLISHED_GROUPS if self.group_by is None else self._combinations(self.group_by)
        age, sex, quintile, severity = np.indices((3, 2, 5, 3))
        self.table = self.assign({"age_band": age, "sex": sex, "quintile": quintile + 1, "severity": severity})
        self.demand_share = self._expected_shares(scenario)

    @staticmethod
    def _combinations(group_by: tuple[str, ...]) -> tuple[str, ...]:
        names = [""]
        for attribute in group_by:
            names = [f"{name}-{value}".lstrip("-") for name in names for value in _VALUES[attribute]]
        return tuple(names)

    def assign(self, attributes: Mapping[str, npt.NDArray[np.integer]]) -> npt.NDArray[np.int16]:
        """Group of each patient.

        :param attributes: ``age_band``, ``sex``, ``quintile`` (1 to 5) and ``severity`` at arrival, arrays of one shape
        """
        if self.group_by is None:
            critical = len(PUBLISHED_GROUPS) - 1
            return np.where(attributes["severity"] == _CRITICAL, critical, attributes["age_band"]).astype(np.int16)
        group = np.zeros_like(attributes["age_band"], dtype=np.int16)
        for attribute in self.group_by:
            value = attributes[attribute] - (1 if attribute == "quintile" else 0)
            group = (group * len(_VALUES[attribute]) + value).astype(np.int16)
        return group

    def _expected_shares(self, scenario: Scenario) -> npt.NDArray[np.float64]:
        """Each group's share of the expected demand, shape (G,): requests of a kind x their need weight."""
        age, sex, _, severity = np.indices((3, 2, 5, 3)).reshape(4, -1)
        sexes = np.array([1.0 - scenario.male_share, scenario.male_share])
        demand = scenario.class_mix[age, severity] * np.asarray(scenario.need_weight)[severity] * sexes[sex] / 5.0
        group = self.table.ravel()
        shares = np.bincount(group, weights=demand, minlength=len(self.names))
        if shares.sum() <= 0.0:
            raise ValueError(
                f"need_weight: got {scenario.need_weight!r}, expected positive demand for some severity that arrives"
            )
        return shares / shares.sum()
