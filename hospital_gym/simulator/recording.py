"""Patient records at the end of an episode, in compiled code; :mod:`hospital_gym.records` says what they hold."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit

from hospital_gym.records import OUTCOMES
from hospital_gym.simulator.compiling import announced, source_digest
from hospital_gym.simulator.layout import DIED, DISCHARGED, IN_BED, LEFT, TRANSFERRED

_SUCCESS: Final = OUTCOMES.index("treated-success")
_FAILURE: Final = OUTCOMES.index("treated-failure")
_IN_TREATMENT: Final = OUTCOMES.index("in-treatment")
_LEFT: Final = OUTCOMES.index("left")
_DIED: Final = OUTCOMES.index("died-waiting")
_TRANSFERRED: Final = OUTCOMES.index("transferred")
_WAITING: Final = OUTCOMES.index("still-waiting")


@njit
def _outcome(patient: Any) -> int:
    """Index into OUTCOMES."""
    status = patient.status
    if status == DISCHARGED:
        return _SUCCESS if patient.success_draw < patient.success_chance else _FAILURE
    if status == IN_BED:
        return _IN_TREATMENT
    if status == LEFT:
        return _LEFT
    if status == DIED:
        return _DIED
    return _TRANSFERRED if status == TRANSFERRED else _WAITING


@njit
def _in_bed_at_start(patient: Any) -> bool:
    return bool((patient.status == IN_BED or patient.status == DISCHARGED) and np.isnan(patient.decided))


@njit
def _write(c: Any, now: float, episode: int, number: int, patient: Any, record: Any) -> None:
    record.episode, record.patient_id = episode, number
    record.arrival, record.age, record.age_band = patient.arrival, patient.age, patient.age_band
    record.sex, record.quintile, record.group = patient.sex, patient.quintile, patient.group
    record.severity_arrival, record.severity_decision = patient.severity_arrival, patient.severity
    record.target_wait = c.target[patient.severity_arrival]
    transfer = c.transfer_hours if patient.status == TRANSFERRED else 0.0
    record.wait = (now if np.isnan(patient.decided) else patient.decided) - patient.arrival + transfer
    in_bed = patient.bed >= 0
    record.bed = patient.bed
    record.matched = in_bed and patient.bed == c.matched[3 * patient.age_band + patient.severity]
    record.service_time = patient.stay if in_bed else np.nan
    record.outcome = _outcome(patient)
    record.demand, record.benefit = patient.demand, patient.benefit
    record.counted = c.counted_from <= patient.arrival < c.counted_until


def _compile_entry_points(digest: int) -> tuple[Callable[..., Any], ...]:
    @njit(cache=True)
    def count_records(hospitals: Any, patients: Any) -> tuple[int, int]:
        """How many patients came, without those whose fate was decided before control began; and the digest of the sources."""
        n = 0
        for k in range(hospitals[0].next_arrival):
            n += not (_in_bed_at_start(patients[k]) or patients[k].decided < 0.0)
        return n, digest

    @njit(cache=True)
    def write_records(hospitals: Any, constants: Any, patients: Any, episode: int, out: Any) -> int:
        """Write the records of those patients, in order of arrival; returns the digest of the sources."""
        h, c = hospitals[0], constants[0]
        number = row = 0
        for k in range(h.next_arrival):
            if not _in_bed_at_start(patients[k]):
                if not patients[k].decided < 0.0:
                    _write(c, h.time, episode, number, patients[k], out[row])
                    row += 1
                number += 1
        return digest

    return count_records, write_records


count_records, write_records = announced(*_compile_entry_points(source_digest()))
