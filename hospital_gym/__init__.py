"""Hospitals as Gymnasium environments: a patient-flow simulator, its scenarios and the rules in use today.

Importing this package registers ``Hospital-Urban-v0``, ``-Rural-v0``, ``-Pediatric-v0``, ``-Surge-v0`` and ``Hospital-v0``,
and the environments on clinical data of :mod:`hospital_gym.clinical`.
"""

from hospital_gym.registration import register_envs

register_envs()

__all__ = ["register_envs"]
