"""Use of resources by hand and against the simulator."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hospital_gym.records import BED_TYPES, RESOURCES
from hospital_gym.scenarios import RURAL
from hospital_gym.simulator.simulator import Simulator
from sb3_grpo.fairness.metrics import bed_use, resource_use
from sb3_grpo.fairness.records import to_frame


def test_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "group": ["a", "b", "b", "a"],
            "arrival": [0.0, -5.0, 8.0, 0.0],
            "wait": [2.0, 1.0, 0.0, 3.0],
            "bed": ["general", "general", "general", None],
            "service_time": [4.0, 5.0, np.nan, np.nan],  # 2 to 6; -4 to 1; 8 to the end; no bed
        }
    )
    use = bed_use(frame, {"general": 2, "critical": 1}, (0.0, 10.0))
    row = use.xs("general", level="bed").iloc[0]
    assert (row["used_hours"], row["available_hours"]) == (4 + 1 + 2, 20)
    np.testing.assert_allclose(row[["utilisation", "share a", "share b"]], [7 / 20, 4 / 7, 3 / 7])
    nobody = use.xs("critical", level="bed").iloc[0]
    assert nobody["utilisation"] == 0.0 and np.isnan(nobody["share a"])
    halves = bed_use(frame, {"general": 2}, (0.0, 10.0), windows=(0.0, 5.0, 10.0))
    np.testing.assert_allclose(halves["used_hours"], [3 + 1, 1 + 2])
    with pytest.raises(ValueError, match=r"period, windows: got .*, expected ascending edges"):
        bed_use(frame, {"general": 2}, (0.0, 10.0), windows=(5.0, 20.0))


def test_resources_are_pooled_before_the_ratio() -> None:
    use = resource_use({"nurses": [[1.0, 10.0], [90.0, 90.0]], "equipment": (0.0, 0.0)})
    assert use["utilisation"]["nurses"] == pytest.approx(0.91)
    assert np.isnan(use["utilisation"]["equipment"])


def test_a_log_that_begins_empty_tells_what_the_simulator_tells() -> None:
    """No burn-in and no levers: every stay is in the records."""
    scenario = replace(RURAL, burn_in_hours=0.0, start_occupancy_cap=0.0, budget_per_day=0.0, budget_cap=0.0)
    simulator = Simulator(scenario)
    records, hours = [], []
    for episode in range(2):
        simulator.reset(0, episode)
        simulator.run_triage()
        records.append(simulator.records())
        hours.append(simulator.utilisation())
    told = resource_use({name: [each[name] for each in hours] for name in RESOURCES[:3]})
    frame = to_frame(np.concatenate(records), simulator.grouping.names)
    seen = bed_use(frame, dict(zip(BED_TYPES, scenario.beds, strict=True)), (0.0, scenario.horizon_hours))
    for column in ("used_hours", "available_hours", "utilisation"):
        np.testing.assert_allclose(seen[column], told[column], rtol=1e-9)
