"""The same patients under two policies, and attributes by which no policy should differ: negative controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sb3_grpo.fairness.inference.bands import GroupBands, group_bands
from sb3_grpo.fairness.inference.max_t import N_BAND_RESAMPLES, band, ratio_draws
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.metrics import episode_totals

NEGATIVE_CONTROLS: Final = ("sex", "quintile")
"""Attributes that touch nothing in a simulated hospital: arrivals, need and stays are drawn without them."""


@dataclass(frozen=True)
class NegativeControl:
    """Whether rates by an attribute that should not matter are compatible with no gap.

    :param attribute: field of the records
    :param bands: rates by the attribute's values, and their gap
    :param compatible: whether the gap's interval reaches 0; it fails to in at most 2.5 % of samples without any gap
    :param message: the same in a sentence
    """

    attribute: str
    bands: GroupBands
    compatible: bool
    message: str


def negative_control(
    records: npt.NDArray[Any],
    n_episodes: int,
    rng: np.random.Generator,
    attribute: str = "sex",
    n_resamples: int = N_BAND_RESAMPLES,
    confidence: float = 0.95,
) -> NegativeControl:
    """Check the analysis on an attribute that no policy sees and nothing depends on.

    A gap there means that something else is wrong: too few episodes counted as many, patients counted as units, an attribute
    that leaked into the simulation. In replayed or real records an attribute may go with age or severity: there it is no
    negative control but a question.

    :param records: patient records, see :data:`hospital_gym.records.RECORD_DTYPE`
    :param n_episodes: number of episodes; they are numbered from 0
    :param rng: source of the resamples
    :param attribute: field of the records with whole numbers, such as those of :data:`NEGATIVE_CONTROLS`
    :param n_resamples: number of resamples
    :param confidence: confidence level
    """
    if attribute not in (records.dtype.names or ()):
        raise ValueError(f"attribute: got {attribute!r}, expected a field of the records: {records.dtype.names}")
    codes, place = np.unique(records[attribute], return_inverse=True)
    relabelled = records.copy()
    relabelled["group"] = place
    names = tuple(("female", "male")[code] if attribute == "sex" else f"{attribute} {code}" for code in codes)
    totals = episode_totals(relabelled, len(codes), range(n_episodes))
    bands = group_bands(totals, names, rng, n_resamples, confidence)
    gap = bands.gap
    if gap.method == "none":
        return NegativeControl(attribute, bands, False, f"gap by {attribute}: insufficient, the check says nothing")
    compatible = not gap.low > 0
    verdict = "compatible with 0" if compatible else "NOT compatible with 0: look for an error before reading other gaps"
    text = f"gap by {attribute}: {gap.value:.3f} ({gap.low:.3f} to {gap.high:.3f}, {gap.n} episodes), {verdict}"
    return NegativeControl(attribute, bands, compatible, text)


def match_patients(records: npt.NDArray[Any], reference: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Rows of the reference in which the patients of the records stand, found by episode and patient number.

    :param records: (N,) with the fields ``episode`` and ``patient_id``
    :param reference: (N,) the same patients in any order
    :return: (N,) so that ``reference[rows]`` has the patients of ``records``
    :raises ValueError: if a patient stands in one only, or twice, naming episode and patient
    """
    order, other = (np.lexsort((r["patient_id"], r["episode"])) for r in (records, reference))
    for name, rows in (("records", records[order]), ("reference", reference[other])):
        twice = (rows["episode"][1:] == rows["episode"][:-1]) & (rows["patient_id"][1:] == rows["patient_id"][:-1])
        if twice.any():
            raise ValueError(f"{name}: {_patient(rows[1:][twice][0])} occurs twice, expected once")
    ours, theirs = (set(zip(r["episode"].tolist(), r["patient_id"].tolist(), strict=True)) for r in (records, reference))
    if ours != theirs:
        episode, patient = min(ours ^ theirs)
        raise ValueError(
            f"reference: patient {patient} of episode {episode} occurs under one policy only, expected the same patients"
        )
    rows = np.empty(len(records), dtype=np.intp)
    rows[order] = other
    return rows


def paired_patient_means(
    records: npt.NDArray[Any],
    values: npt.ArrayLike,
    reference: npt.NDArray[Any],
    reference_values: npt.ArrayLike,
    group_names: Sequence[str],
    n_episodes: int,
    rng: np.random.Generator,
    n_resamples: int = N_BAND_RESAMPLES,
    confidence: float = 0.95,
) -> tuple[Interval, ...]:
    """Mean over counted patients of what changes for the same patient, per group, e.g. of hours waited.

    Pairing patients takes out what differs between them. The unit remains the episode: whole episodes are resampled.

    :param records: (N,) patient records under the policy
    :param values: (N,) a number per patient, finite for those counted
    :param reference: (N,) records of the same patients under the policy compared with, in any order
    :param reference_values: (N,) their numbers
    :param group_names: names of the G groups
    :param n_episodes: number of episodes; they are numbered from 0
    :param rng: source of the resamples
    :param n_resamples: number of resamples
    :param confidence: with which all groups' intervals hold together
    :return: one interval per group; "none" for a group without patients
    """
    rows = match_patients(records, reference)
    new, old = np.asarray(values, dtype=np.float64), np.asarray(reference_values, dtype=np.float64)
    for key, column, of in (("values", new, records), ("reference_values", old, reference)):
        if column.shape != (len(of),) or not np.isfinite(column[of["counted"]]).all():
            raise ValueError(f"{key}: got shape {column.shape}, expected ({len(of)},), finite for every counted patient")
    counted = records["counted"]
    cell = (records["episode"].astype(np.int64) * len(group_names) + records["group"])[counted]
    shape, size = (n_episodes, len(group_names)), n_episodes * len(group_names)
    change = np.bincount(cell, weights=(new - old[rows])[counted], minlength=size).reshape(shape).astype(np.float64)
    patients = np.bincount(cell, minlength=size).reshape(shape).astype(np.float64)
    present = np.flatnonzero(patients.sum(axis=0) > 0)
    draws = ratio_draws(change[:, present], patients[:, present], rng, n_resamples)
    intervals = dict(zip(present.tolist(), band(draws, np.eye(len(present)), confidence), strict=True))
    none = Interval(np.nan, np.nan, np.nan, "episode", n_episodes, "none", confidence)
    return tuple(intervals.get(k, none) for k in range(len(group_names)))


def _patient(row: Any) -> str:
    return f"patient {row['patient_id']} of episode {row['episode']}"
