"""Similar patients, similar treatment."""

import numpy as np
import pandas as pd
import pytest

from sb3_grpo.fairness.metrics import group_metrics, individual_fairness
from sb3_grpo.fairness.records import to_frame
from tests.patient_tables import GROUPS, random_records


def test_by_hand() -> None:
    """Places 0, 1, 3, 7 (in units of their deviation), treatments 1, 0, 0, 1, one neighbour each: 1, 0, 1, 2."""
    frame = pd.DataFrame({"x": [0.0, 1.0, 3.0, 7.0], "treated": [1, 0, 0, 1]})
    unit = np.std([0.0, 1.0, 3.0, 7.0])
    found = individual_fairness(frame, ["x"], "treated", n_neighbours=1)
    assert found.consistency == pytest.approx(1 - (1 + 1 + 0 + 1) / 4)
    assert found.lipschitz == pytest.approx(np.mean([1 / 1, 1 / 1, 0 / 2, 1 / 4]) * unit)
    assert found.n == 4 and found.indistinguishable == 0.0


def test_equal_patients_are_least_distance_apart() -> None:
    """Two equal patients, one treated: 1 / 0.1, not infinite; treated alike they count 0."""
    frame = pd.DataFrame({"kind": ["a", "a", "b", "b"], "treated": [1, 0, 1, 1]})
    found = individual_fairness(frame, ["kind"], "treated", n_neighbours=1)
    assert found.lipschitz == pytest.approx((10 + 10 + 0 + 0) / 4)
    assert found.indistinguishable == 1.0
    # Different categories are 1 apart.
    assert individual_fairness(frame.iloc[[0, 3]].assign(treated=[0, 1]), ["kind"], "treated", 1).lipschitz == pytest.approx(
        1.0
    )


def test_against_all_pairs() -> None:
    frame = to_frame(random_records(300, seed=5), GROUPS)
    found = individual_fairness(frame, treatment="benefit_share", n_neighbours=7)
    kept = frame[frame["counted"]]
    age = ((kept["age"].astype(float) - kept["age"].astype(float).mean()) / kept["age"].astype(float).std(ddof=0)).to_numpy()
    severity = kept["severity_arrival"].cat.codes.to_numpy()
    distance = np.sqrt((age[:, None] - age) ** 2 + (severity[:, None] != severity))
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, :7]
    given = (kept["benefit"] / kept["demand"]).to_numpy()
    near = np.maximum(np.take_along_axis(distance, nearest, axis=1), 0.1)
    assert found.consistency == pytest.approx(1 - np.abs(given - given[nearest].mean(axis=1)).mean())
    assert found.lipschitz == pytest.approx((np.abs(given[:, None] - given[nearest]) / near).mean())


def test_order_of_rows_does_not_matter() -> None:
    """Not even with many equal patients, of whom only a sample is looked at."""
    frame = to_frame(random_records(500, seed=1), GROUPS)
    frame["age"] = frame["age"].round(-1)
    shuffled = frame.iloc[np.random.default_rng(0).permutation(500)]
    assert individual_fairness(frame, max_patients=200) == individual_fairness(shuffled, max_patients=200)


def test_bounds_and_too_few() -> None:
    frame = to_frame(random_records(200, seed=2), GROUPS)
    same = individual_fairness(frame.assign(outcome="left"))
    assert (same.consistency, same.lipschitz) == (1.0, 0.0)
    assert np.isnan(individual_fairness(frame.iloc[:5]).consistency)
    metrics = group_metrics(frame)
    assert metrics.indices["consistency"] == individual_fairness(frame).consistency
    without = group_metrics(frame.drop(columns="age"))
    assert "consistency" not in without.indices and "consistency: not available: column age" in without.messages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"treatment": "cured"}, r"treatment: got 'cured', expected one of"),
        ({"features": ["height"]}, r"column 'height': missing"),
        ({"n_neighbours": 0}, r"n_neighbours: got 0, expected at least 1"),
        ({"least_distance": 0.0}, r"least_distance: got 0.0, expected a number > 0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        individual_fairness(to_frame(random_records(20, seed=0), GROUPS), **arguments)
    with pytest.raises(ValueError, match=r"treatment 'in_time': needs column target_wait, which is missing"):
        individual_fairness(to_frame(random_records(20, seed=0), GROUPS).drop(columns="target_wait"))
