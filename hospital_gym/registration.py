"""Registering the environments with Gymnasium.

A module of its own that imports nothing heavy, so that it can serve as the target of the ``gymnasium.envs`` entry point.
"""

from gymnasium.envs.registration import register, registry

from hospital_gym.clinical.registration import register_diagnosis_envs, register_sepsis_env

ENVIRONMENT_IDS = (
    "Hospital-Urban-v0",
    "Hospital-Rural-v0",
    "Hospital-Pediatric-v0",
    "Hospital-Surge-v0",
)
"""The four hospitals; ``Hospital-v0`` takes any other with ``scenario=``."""


def register_envs() -> None:
    """Register hospitals and clinical environments; calling it again does nothing."""
    for environment_id in (*ENVIRONMENT_IDS, "Hospital-v0"):
        if environment_id in registry:
            continue
        name = environment_id.removeprefix("Hospital-").removesuffix("-v0")
        kwargs = {} if environment_id == "Hospital-v0" else {"scenario": name}
        register(
            environment_id,
            entry_point="hospital_gym.hospital_env:HospitalEnv",
            vector_entry_point="hospital_gym.hospital_vector_env:HospitalVectorEnv",
            kwargs=kwargs,
        )
    register_diagnosis_envs()
    register_sepsis_env()
