"""What is kept of every patient: the row from which every report is computed.

Reports are computed from these rows, never from running counters, so that patients who left, died or are still waiting are
counted like everybody else.
"""

from typing import Final

import numpy as np

AGE_BANDS: Final = ("child", "adult", "elderly")
"""Age bands: child < 18 years, adult 18 to 64, elderly >= 65."""

SEXES: Final = ("female", "male")

QUINTILES: Final = ("q1", "q2", "q3", "q4", "q5")
"""Deprivation quintiles, q1 the most deprived; the quintile of a record is the number, 1 to 5."""

SEVERITIES: Final = ("routine", "urgent", "critical")
"""Triage severities, least urgent first."""

BED_TYPES: Final = ("general", "paediatric", "critical")
"""Bed types; the bed of a record is an index into this tuple, or -1 where the patient had none."""

SKILLS: Final = ("general", "paediatric", "critical")
"""Nursing skills, nested: critical-care nurses may nurse anybody, paediatric nurses also general patients."""

OUTCOMES: Final = (
    "treated-success",
    "treated-failure",
    "in-treatment",
    "left",
    "died-waiting",
    "transferred",
    "still-waiting",
)
"""What became of a patient by the end of the episode; the outcome of a record is an index into this tuple."""

RESOURCES: Final = (*(f"{name} beds" for name in BED_TYPES), "nurses", "equipment")
"""What ``info["episode_utilisation"]`` tells the use of."""

RECORD_DTYPE: Final = np.dtype(
    [
        ("episode", np.int32),  # number of the episode in its seed's sequence
        ("patient_id", np.int32),  # unique within the episode, in order of arrival
        ("arrival", np.float64),  # hours since control began; negative before it
        ("age", np.float32),  # years
        ("age_band", np.int8),  # index into AGE_BANDS
        ("sex", np.int8),  # index into SEXES
        ("quintile", np.int8),  # deprivation quintile, 1 (most deprived) to 5
        ("group", np.int16),  # index into the environment's group_names, fixed at arrival
        ("severity_arrival", np.int8),  # index into SEVERITIES
        ("severity_decision", np.int8),  # severity when the patient's fate was decided (or at the end, if it was not)
        ("target_wait", np.float64),  # hours
        ("wait", np.float64),  # hours from arrival to the decision (transfers: to arrival at the other hospital)
        ("bed", np.int8),  # index into BED_TYPES, -1 for none
        ("matched", np.bool_),  # the bed was of the type the patient's severity and age call for
        ("service_time", np.float64),  # hours of stay in the bed; NaN without a bed
        ("outcome", np.int8),  # index into OUTCOMES
        ("demand", np.float64),  # need weight of the severity at arrival
        ("benefit", np.float64),  # what the hospital gave, in [0, demand]
        ("counted", np.bool_),  # enters reports: arrived inside the counted window
    ]
)
"""One row per patient, in order of arrival."""
