"""Stays in intensive care from the tables of MIMIC-III. Needs DuckDB: ``pip install "sb3-grpo[clinical]"``."""

from hospital_gym.clinical.mimic.reader import read_mimic3
from hospital_gym.clinical.mimic.tables import MIMIC_III

__all__ = ["MIMIC_III", "read_mimic3"]
