"""Ids of the clinical environments. Imports nothing heavy."""

from typing import Any, Final

from gymnasium.envs.registration import register, registry

DIAGNOSIS_ENVIRONMENTS: Final[dict[str, dict[str, Any]]] = {
    "Diagnosis-HeartDisease-v0": {"table": "heart-disease"},
    # Where one patient in twelve, or one in seven, dies, "nobody dies" is right nearly always, and learners find that first
    "Diagnosis-EicuMortality-v0": {"table": "eicu-mortality", "sampling": "label"},
    "Diagnosis-IcuMortality-v0": {"table": "icu-mortality", "sampling": "label"},
    "Diagnosis-BreastCancer-v0": {"table": "breast-cancer"},
}
"""Id and arguments of each; ``Diagnosis-v0`` takes any other table with ``table=``."""

SEPSIS_ENVIRONMENT: Final = "Sepsis-Treatment-v0"
"""Id of the treatment of sepsis."""


def register_diagnosis_envs() -> None:
    """Register them; calling it again does nothing."""
    for environment_id, kwargs in {**DIAGNOSIS_ENVIRONMENTS, "Diagnosis-v0": {}}.items():
        if environment_id not in registry:
            register(
                environment_id,
                entry_point="hospital_gym.clinical.diagnosis_env:DiagnosisEnv",
                vector_entry_point="hospital_gym.clinical.diagnosis_vector_env:DiagnosisVectorEnv",
                kwargs=dict(kwargs),
            )


def register_early_warning() -> None:
    """Register ``EarlyWarning-ICU-v0``; calling it again does nothing."""
    if "EarlyWarning-ICU-v0" not in registry:
        register(
            "EarlyWarning-ICU-v0",
            entry_point="hospital_gym.clinical.early_warning_env:EarlyWarningEnv",
            vector_entry_point="hospital_gym.clinical.early_warning_vector_env:EarlyWarningVectorEnv",
        )


def register_sepsis_env() -> None:
    """Register it; calling it again does nothing."""
    if SEPSIS_ENVIRONMENT not in registry:
        register(
            SEPSIS_ENVIRONMENT,
            entry_point="hospital_gym.clinical.sepsis.treatment_env:SepsisTreatmentEnv",
            vector_entry_point="hospital_gym.clinical.sepsis.treatment_vector_env:SepsisTreatmentVectorEnv",
        )
