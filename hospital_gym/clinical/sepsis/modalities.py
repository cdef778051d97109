"""What the state vector of ICU-Sepsis holds, and its channels by modality."""

from typing import Final

COLUMNS: Final = tuple(
    (
        "gender mechvent max_dose_vaso re_admission age Weight_kg GCS HR SysBP MeanBP DiaBP RR Temp_C FiO2_1 Potassium Sodium "
        "Chloride Glucose Magnesium Calcium Hb WBC_count Platelets_count PTT PT Arterial_pH paO2 paCO2 Arterial_BE HCO3 "
        "Arterial_lactate SOFA SIRS Shock_Index PaO2_FiO2 cumulated_balance SpO2 BUN Creatinine SGOT SGPT Total_bili INR "
        "input_total input_4hourly output_total output_4hourly"
    ).split()
)
"""Columns of the state vector, in the order of ``create_rl_table.py`` of github.com/icu-sepsis/icu-sepsis, which makes it.

Units: ``gender``, ``mechvent`` and ``max_dose_vaso`` less 0.5; ``re_admission`` plus 0.1 (the script shifts it once more);
``SpO2``, ``BUN`` to ``INR``, inputs and outputs in standard deviations of the logarithm, ``input_4hourly`` twice that; others
in standard deviations from the mean. Column 31, SOFA, correlates with the package's own SOFA scores at 0.997.
"""

MODALITIES: Final[dict[str, tuple[str, ...]]] = {
    "vitals": ("GCS", "HR", "SysBP", "MeanBP", "DiaBP", "RR", "Temp_C", "SpO2", "Shock_Index", "SOFA", "SIRS"),
    "blood_gas": (
        *("mechvent", "FiO2_1", "Arterial_pH", "paO2", "paCO2", "Arterial_BE", "HCO3", "Arterial_lactate", "PaO2_FiO2"),
    ),
    "chemistry": (
        *("Potassium", "Sodium", "Chloride", "Glucose", "Magnesium", "Calcium", "BUN", "Creatinine"),
        *("SGOT", "SGPT", "Total_bili"),
    ),
    "haematology": ("Hb", "WBC_count", "Platelets_count", "PTT", "PT", "INR"),
    "fluids": ("max_dose_vaso", "cumulated_balance", "input_total", "input_4hourly", "output_total", "output_4hourly"),
}
"""Channels of each modality. ``vitals`` also holds the scores, ``fluids`` the dose of vasopressors."""

STATIC: Final = ("gender", "age", "Weight_kg", "re_admission")
"""What does not change in a patient; a state holds the means of its patients, so here it changes with the state."""


def column(name: str) -> int:
    """
    :param name: one of :data:`COLUMNS`
    :return: its number
    """
    return COLUMNS.index(name)
