"""Write a made-up log of an emergency department, and the map that explains it, to try ``sb3-grpo audit`` and ``monitor`` on.

python audit_log.py visits.csv visits.yml

People of area "north" wait as long as others until week 40 and half as long again from then on.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

VISITS, WEEKS, SLOWER_FROM = 26_000, 52, 40

COLUMNS = """\
columns:
  record_id: visit                          # no two rows may share it
  wait: {from: arrived, to: seen, otherwise: left}
  age: age
  sex: {column: gender, values: {W: female, M: male}}
  severity_arrival: {column: triage, values: {1: critical, 2: critical, 3: urgent, 4: routine, 5: routine}}
  target_wait: {column: triage, unit: minutes, values: {1: 10, 2: 15, 3: 60, 4: 120, 5: 240}}
  outcome:
    column: disposal
    values: {home: treated-success, admitted: treated-success, came back: treated-failure, left: left}
  service_time: {column: stay_minutes, unit: minutes}
labels: {in_time: seen in time}
"""


def visits(seed: int = 0) -> pd.DataFrame:
    """One row per visit."""
    rng = np.random.default_rng(seed)
    arrived = np.datetime64("2024-01-01T00:00:00") + np.sort(rng.integers(0, WEEKS * 7 * 86_400, VISITS)).astype(
        "timedelta64[s]"
    )
    week = (arrived - arrived[0]) // np.timedelta64(7, "D")
    area = rng.choice(["north", "south", "east", "abroad"], VISITS, p=[0.3, 0.4, 0.29, 0.01])
    triage = 1 + rng.choice(5, VISITS, p=[0.02, 0.13, 0.40, 0.35, 0.10])
    slower = np.where((area == "north") & (week >= SLOWER_FROM), 1.5, 1.0)
    hours = rng.exponential(np.array([0.05, 0.12, 0.5, 0.9, 1.6])[triage - 1] * slower)
    end = pd.Series(arrived + (3600 * hours).astype("timedelta64[s]")).astype(str)
    left = rng.random(VISITS) < 0.03
    treated = rng.choice(["home", "admitted", "came back"], VISITS, p=[0.7, 0.24, 0.06])
    return pd.DataFrame(
        {
            "visit": [f"V{number:06d}" for number in range(VISITS)],
            "arrived": pd.Series(arrived).astype(str),
            "seen": end.where(~left, ""),
            "left": end.where(left, ""),
            "age": rng.integers(0, 96, VISITS),
            "gender": rng.choice(["W", "M"], VISITS),
            "area": area,
            "ward": rng.choice([f"room {number}" for number in range(1, 25)], VISITS),
            "triage": triage,
            "disposal": np.where(left, "left", treated),
            "stay_minutes": np.where(left, "", rng.lognormal(5.0, 0.5, VISITS).round().astype(int).astype(str)),
        }
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python audit_log.py visits.csv visits.yml")
    visits().to_csv(sys.argv[1], index=False)
    Path(sys.argv[2]).write_text(COLUMNS, encoding="utf-8")
