"""Are similar patients treated alike?

The distance of two patients is Euclidean over the features: numbers in units of their standard deviation over the patients
looked at, categories 0 if equal and 1 if not. Only the nearest neighbours of each patient are compared, found by a tree
(scikit-learn), so the work grows as n log n, not n^2.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.facts import FACTS, lacking_columns
from sb3_grpo.fairness.metrics.pooled import ratio
from sb3_grpo.fairness.records import check_frame, counted_rows

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

FEATURES: Final = ("severity_arrival", "age")
"""What makes patients similar unless told otherwise; attributes that define groups have no place here."""
TREATMENTS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "in_time": FACTS["in_time"].needs,
    "treated": FACTS["treated"].needs,
    "benefit_share": FACTS["benefit"].needs,
}
"""Treatments that can be compared, all in [0, 1], and the columns they need."""


class IndividualFairness(NamedTuple):
    """How alike the treatment of similar patients is.

    :param consistency: 1 - mean over patients of abs(own treatment - mean of the neighbours' treatment), in [0, 1]; 1: alike
        (Zemel et al., ICML 2013)
    :param lipschitz: mean over pairs of neighbours of abs(difference of treatment) / distance, where a distance below
        ``least_distance`` counts as that; in [0, 1 / least_distance]; 0: alike
    :param indistinguishable: share of the pairs that are nearer than ``least_distance``
    :param n: number of patients looked at
    """

    consistency: float
    lipschitz: float
    indistinguishable: float
    n: int


def individual_fairness(
    frame: "pd.DataFrame",
    features: Sequence[str] = FEATURES,
    treatment: str = "in_time",
    n_neighbours: int = 10,
    least_distance: float = 0.1,
    max_patients: int = 20_000,
    seed: int = 0,
) -> IndividualFairness:
    """Compare each counted patient with the nearest neighbours.

    Patients with a missing feature are left out. Order of the rows plays no part: they are sorted before the sample is drawn
    and before ties of distance are broken.

    :param frame: patient table
    :param features: columns that make patients similar, numbers or categories
    :param treatment: one of :data:`TREATMENTS`
    :param n_neighbours: number of neighbours
    :param least_distance: pairs that are nearer count as this far apart: without it two equal patients who were treated
        differently would count infinitely
    :param max_patients: of more patients a random sample is looked at
    :param seed: seed of that sample
    :return: the measures; NaN with fewer than ``n_neighbours`` + 1 patients
    :raises ValueError: naming the column or argument, its value and what is accepted
    """
    if treatment not in TREATMENTS:
        raise ValueError(f"treatment: got {treatment!r}, expected one of {sorted(TREATMENTS)}")
    for key, value in (("n_neighbours", n_neighbours), ("max_patients", max_patients)):
        if value < 1:
            raise ValueError(f"{key}: got {value}, expected at least 1")
    if not 0 < least_distance < np.inf:
        raise ValueError(f"least_distance: got {least_distance}, expected a number > 0")
    lacking = lacking_columns(frame, TREATMENTS[treatment])
    if lacking:
        raise ValueError(f"treatment {treatment!r}: needs column {lacking}, which is missing")
    check_frame(frame, features)
    known = counted_rows(frame).dropna(subset=list(features))
    given, place = _given(known, treatment), _places(known, features)
    defined = np.isfinite(given)
    given, place = given[defined], place[defined]
    order = np.lexsort((given, *place.T))
    if len(order) > max_patients:
        order = order[np.sort(np.random.default_rng(seed).choice(len(order), max_patients, replace=False))]
    given, place = given[order], place[order]
    if len(given) <= n_neighbours:
        return IndividualFairness(np.nan, np.nan, np.nan, len(given))
    from sklearn.neighbors import NearestNeighbors

    tree = NearestNeighbors(n_neighbors=n_neighbours, algorithm="kd_tree").fit(place)
    distance, neighbour = tree.kneighbors()  # without arguments: of every patient, not counting the patient
    difference = np.abs(given[:, None] - given[neighbour])
    return IndividualFairness(
        consistency=float(1.0 - np.abs(given - given[neighbour].mean(axis=1)).mean()),
        lipschitz=float((difference / np.maximum(distance, least_distance)).mean()),
        indistinguishable=float((distance < least_distance).mean()),
        n=len(given),
    )


def _given(frame: "pd.DataFrame", treatment: str) -> FloatArray:
    if treatment == "benefit_share":
        return ratio(FACTS["benefit"].of(frame), FACTS["demand"].of(frame))
    return FACTS[treatment].of(frame)


def _places(frame: "pd.DataFrame", features: Sequence[str]) -> FloatArray:
    """Coordinates of the patients, (N, D)."""
    import pandas as pd

    columns = []
    for name in features:
        if pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name]):
            values = frame[name].to_numpy(dtype=np.float64)
            spread = values.std() if len(values) else 0.0
            columns.append((values - values.mean()) / spread if spread > 0 else np.zeros(len(values)))
        else:
            # Two different categories differ in two indicators: 1 apart if each is scaled by sqrt(1/2).
            indicators = pd.get_dummies(frame[name].astype(object)).to_numpy(dtype=np.float64)
            columns += list((indicators * np.sqrt(0.5)).T)
    return np.column_stack(columns) if columns else np.zeros((len(frame), 0))
