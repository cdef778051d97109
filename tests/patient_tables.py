"""Small patient tables for tests of metrics."""

from typing import Any

import numpy as np
import pandas as pd

from hospital_gym.records import AGE_BANDS, OUTCOMES, RECORD_DTYPE, SEVERITIES

GROUPS = ("pediatric", "adult", "elderly", "critical")


def table(rows: list[dict[str, Any]], copies: int = 1) -> pd.DataFrame:
    """One row per dictionary, each ``copies`` times."""
    return pd.DataFrame([row for row in rows for _ in range(copies)])


def random_records(n: int, seed: int, n_episodes: int = 4) -> np.ndarray:
    """Records of patients whose fields agree with each other but were drawn at random."""
    rng = np.random.default_rng(seed)
    records = np.zeros(n, dtype=RECORD_DTYPE)
    records["episode"] = np.sort(rng.integers(0, n_episodes, n))
    records["patient_id"] = np.arange(n)
    records["arrival"] = rng.uniform(0, 504, n)
    records["age_band"] = rng.integers(0, len(AGE_BANDS), n)
    records["age"] = np.array([9.0, 40.0, 75.0])[records["age_band"]] + rng.uniform(-8, 8, n)
    records["sex"], records["quintile"] = rng.integers(0, 2, n), rng.integers(1, 6, n)
    records["severity_arrival"] = rng.choice(len(SEVERITIES), n, p=[0.6, 0.25, 0.15])
    records["severity_decision"] = records["severity_arrival"]
    records["group"] = np.where(records["severity_arrival"] == 2, 3, records["age_band"])
    records["target_wait"] = np.array([8.0, 4.0, 1.0])[records["severity_arrival"]]
    records["wait"] = np.where(rng.random(n) < 0.3, 0.0, rng.exponential(6.0, n))
    records["outcome"] = rng.choice(len(OUTCOMES), n, p=[0.6, 0.1, 0.1, 0.1, 0.03, 0.05, 0.02])
    records["bed"] = np.where(records["outcome"] <= 2, rng.integers(0, 3, n), -1)
    records["service_time"] = np.where(records["bed"] >= 0, rng.exponential(90.0, n), np.nan)
    records["demand"] = np.array([1.0, 2.0, 4.0])[records["severity_arrival"]]
    treated = (records["outcome"] <= 2) | (records["outcome"] == 5)
    records["benefit"] = np.where(treated, records["demand"] * np.exp(-records["wait"] / 48), 0.0)
    records["counted"] = rng.random(n) < 0.9
    return records
