"""A small log of emergency visits such as a hospital might export, and the map that explains it."""

from pathlib import Path

import numpy as np
import pandas as pd

COLUMN_MAP = """\
columns:
  record_id: Visit No
  wait: {from: Arrived, to: Seen, otherwise: Left At}
  age: {column: Age, values: {"> 89": 90}}
  sex: Sex
  severity_arrival: {column: ESI, values: {1: critical, 2: critical, 3: urgent, 4: routine, 5: routine}}
  target_wait: {column: ESI, values: {1: 0.25, 2: 0.5, 3: 1, 4: 2, 5: 4}}
  outcome: {column: Disposal, values: {home: treated-success, readmitted: treated-failure, left: left}}
  ethnicity: {column: Ethnicity, values: {"?": null}}
"""


def visits(n: int = 3000, seed: int = 0, weeks: int = 30, slower: float = 1.0) -> pd.DataFrame:
    """Visits of a log; people of ethnicity B wait ``slower`` times as long."""
    rng = np.random.default_rng(seed)
    arrived = np.datetime64("2024-01-01T00:00:00") + np.sort(rng.integers(0, weeks * 7 * 86_400, n)).astype("timedelta64[s]")
    ethnicity = rng.choice(["A", "B", "Ünsal", "?"], n, p=[0.6, 0.3, 0.09, 0.01])
    esi = rng.choice(5, n, p=[0.02, 0.13, 0.4, 0.35, 0.1]) + 1
    hours = rng.exponential(0.4 * esi) * np.where(ethnicity == "B", slower, 1.0)
    moment = pd.Series(arrived + (3600 * hours).astype("timedelta64[s]")).astype(str)
    left = rng.random(n) < 0.05
    return pd.DataFrame(
        {
            "Visit No": [f"v{k:06d}" for k in range(n)],
            "Arrived": pd.Series(arrived).astype(str),
            "Seen": moment.where(~left, ""),
            "Left At": moment.where(left, ""),
            "Age": np.where(rng.random(n) < 0.02, "> 89", rng.integers(0, 90, n).astype(str)),
            "Sex": rng.choice(["F", "M"], n),
            "ESI": esi,
            "Disposal": np.where(left, "left", np.where(rng.random(n) < 0.06, "readmitted", "home")),
            "Ethnicity": ethnicity,
            "Ward": rng.integers(1, 31, n).astype(str),
        }
    )


def write(folder: Path, table: pd.DataFrame, name: str = "visits.csv", **options: object) -> Path:
    """Write a table as CSV; the options are those of pandas."""
    path = folder / name
    table.to_csv(path, index=False, **options)  # type: ignore[call-overload]
    return path


def write_map(folder: Path, text: str = COLUMN_MAP) -> Path:
    path = folder / "map.yml"
    path.write_text(text, encoding="utf-8")
    return path
