"""Groups of sepsis patients: by the state in which they start, so that treatment cannot move anybody to another group."""

from typing import Final

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.sepsis.mdp import Floats, SepsisMDP
from hospital_gym.clinical.sepsis.modalities import column

GROUPINGS: Final[dict[str, tuple[str, ...]]] = {
    "age": ("younger", "middle", "older"),
    "sofa": ("sofa-below-5", "sofa-5-to-10", "sofa-10-and-more"),
    "readmission": ("first-admission", "readmitted"),
    "ventilation": ("breathing", "ventilated"),
}
"""What patients can be grouped by, and the names of the groups. Sex is none: a state's patients are of both."""

_SOFA_LIMITS: Final = (5.0, 10.0)
_READMITTED: Final = 0.6  # the column holds the share of readmitted patients plus 0.1
_VENTILATED: Final = 0.0  # the column holds the share of ventilated patients less 0.5


def start_groups(mdp: SepsisMDP, group_by: str) -> npt.NDArray[np.int64]:
    """
    :param mdp: decision problem
    :param group_by: ``"age"`` (thirds of the patients by the mean age of their start state), ``"sofa"`` (its mean SOFA score:
        below 5, 5 to 10, 10 and more), ``"readmission"`` or ``"ventilation"`` (what most patients of the start state were)
    :return: (S,) group of those who start in each state
    :raises ValueError: if it is none of these
    """
    if not isinstance(group_by, str) or group_by not in GROUPINGS:
        raise ValueError(f"group_by: got {group_by!r}, expected one of {', '.join(map(repr, GROUPINGS))}")
    if group_by == "sofa":
        return np.digitize(mdp.sofa, _SOFA_LIMITS)
    if group_by == "readmission":
        return (mdp.centres[:, column("re_admission")] > _READMITTED).astype(np.int64)
    if group_by == "ventilation":
        return (mdp.centres[:, column("mechvent")] > _VENTILATED).astype(np.int64)
    return _thirds(mdp.centres[:, column("age")], mdp.first)


def _thirds(ages: Floats, shares: Floats) -> npt.NDArray[np.int64]:
    """Thirds of the patients: a state belongs to where the middle of its patients, ordered by age, lies."""
    order = np.argsort(ages, kind="stable")
    middle = np.empty(len(ages))
    middle[order] = np.cumsum(shares[order]) - 0.5 * shares[order]
    return np.clip((3.0 * middle).astype(np.int64), 0, 2)
