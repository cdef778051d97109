"""Metrics per group against values computed by hand and by other libraries."""

import json

import numpy as np
import pandas as pd
import pytest

from sb3_grpo.fairness.metrics import episode_totals, group_metrics, policy_metrics
from sb3_grpo.fairness.records import to_frame
from tests.patient_tables import GROUPS, random_records, table


def ten_of_each() -> pd.DataFrame:
    """Two groups; each row stands for ten patients."""
    row = {"severity_arrival": "routine", "target_wait": 8.0, "demand": 1.0}
    return table(
        [
            {**row, "group": "a", "wait": 2.0, "outcome": "treated-success", "benefit": 1.0},
            {**row, "group": "a", "wait": 4.0, "outcome": "treated-success", "benefit": 1.0},
            {**row, "group": "a", "wait": 6.0, "outcome": "treated-failure", "benefit": 1.0},
            {**row, "group": "a", "wait": 10.0, "outcome": "transferred", "benefit": 0.8},
            {**row, "group": "b", "wait": 2.0, "outcome": "treated-success", "benefit": 1.0},
            {**row, "group": "b", "wait": 3.0, "outcome": "left", "benefit": 0.0},
            {**row, "group": "b", "wait": 9.0, "outcome": "in-treatment", "benefit": 0.6},
            {**row, "group": "b", "wait": 20.0, "outcome": "died-waiting", "benefit": 0.0},
            {**row, "group": "b", "wait": 20.0, "outcome": "still-waiting", "benefit": 0.0},
        ],
        copies=10,
    )


def test_rates_by_hand() -> None:
    values = group_metrics(ten_of_each(), min_patients=10).values
    expected = {
        "benefit_rate": [3.8 / 4, 1.6 / 5],
        "treated": [1.0, 2 / 5],
        "in_time": [3 / 4, 1 / 5],
        "in_time_others": [3 / 4, 1 / 5],
        "left": [0.0, 1 / 5],
        "died_waiting": [0.0, 1 / 5],
        "transferred": [1 / 4, 0.0],
        "success": [2 / 3, 1.0],
        "wait_treated_mean": [5.5, 5.5],
    }
    for name, by_hand in expected.items():
        np.testing.assert_allclose(values[name], by_hand, rtol=1e-12, err_msg=name)
    assert values["in_time_needing"].isna().all(), "nobody is in need: that is no rate, and above all not 0"


def test_benefit_rates_are_those_of_the_totals() -> None:
    """The same numbers by the older, episode-wise path."""
    records = random_records(3000, seed=0)
    pooled = policy_metrics(episode_totals(records, len(GROUPS)), np.zeros(4))
    metrics = group_metrics(to_frame(records, GROUPS))
    np.testing.assert_allclose(metrics.values["benefit_rate"], pooled.rates, rtol=1e-12)
    assert metrics.disparity.loc["benefit_rate", "worst"] == pytest.approx(pooled.worst)
    assert metrics.disparity.loc["benefit_rate", "gap"] == pytest.approx(pooled.gap)
    assert metrics.overall["benefit_rate"] == pytest.approx(pooled.benefit_share)


def test_small_and_empty_groups_are_insufficient() -> None:
    """29 patients are too few, 30 are not, and a group of the environment that nobody belongs to is listed."""
    frame = ten_of_each()
    frame = pd.concat([frame[frame["group"] == "a"].iloc[:30], frame[frame["group"] == "b"].iloc[:29]], ignore_index=True)
    frame["group"] = pd.Categorical(frame["group"], categories=["a", "b", "c"])
    metrics = group_metrics(frame)
    assert metrics.values.loc[["b", "c"]].isna().all(axis=None)
    assert metrics.values.loc["a", "treated"] == 1.0
    assert list(metrics.n) == [30, 29, 0]
    text = metrics.to_frame(text=True)
    assert text.loc["b", "treated"] == "insufficient (n=29)" and text.loc["c", "wait_mean"] == "insufficient (n=0)"
    assert text.loc["a", "treated"] == "1.000"
    assert metrics.disparity["worst_group"]["treated"] == "a" and np.isnan(metrics.disparity["gap"]["treated"])
    assert np.isnan(metrics.indices["treated_parity_difference"])
    assert "b: insufficient (n=29): enters no comparison" in metrics.messages
    # 27 of b's patients more than enough for its own rates, but not for the rate among those whose end is known.
    assert group_metrics(frame, min_patients=20).to_frame(text=True).loc["b", "success"] == "insufficient (n=10)"


def test_uncounted_patients_enter_nothing() -> None:
    frame = ten_of_each().assign(counted=True)
    extra = frame[frame["group"] == "b"].assign(counted=False, wait=100.0, outcome="left", benefit=0.0)
    with_them = group_metrics(pd.concat([frame, extra], ignore_index=True))
    assert with_them.to_dict() == group_metrics(frame).to_dict()


def test_missing_columns_are_named() -> None:
    metrics = group_metrics(ten_of_each()[["group", "outcome"]])
    assert set(metrics.values) == {"treated", "left", "died_waiting", "transferred", "success"}
    assert "benefit_rate: not available: column benefit, demand" in metrics.messages
    assert "in_time: not available: column wait, target_wait" in metrics.messages
    assert "wait_mean: not available: column wait" in metrics.messages


def test_dictionary_is_json() -> None:
    metrics = group_metrics(to_frame(random_records(1500, seed=1), GROUPS), windows="week")
    plain = json.loads(json.dumps(metrics.to_dict(), allow_nan=False))
    assert plain["groups"]["critical"]["in_time_others"] is None
    assert plain["groups"]["adult"]["treated"] == metrics.values.loc["adult", "treated"]
    assert [window["window"] for window in plain["windows"]] == [0.0, 168.0, 336.0]
