"""Counts of chunks add up to the counts of the whole; tables that cannot be counted are refused by name."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_grpo.fairness.accumulate import Counts, accumulate, add_counts
from sb3_grpo.fairness.metrics import DEFINITIONS, GroupMetrics, group_metrics
from sb3_grpo.fairness.records import MISSING, check_frame, to_frame
from tests.patient_tables import GROUPS, random_records, table


def random_frame(n: int, seed: int) -> pd.DataFrame:
    return to_frame(random_records(n, seed), GROUPS)


def assert_same(one: GroupMetrics, other: GroupMetrics) -> None:
    pd.testing.assert_frame_equal(one.values, other.values, rtol=1e-10)
    pd.testing.assert_frame_equal(one.patients, other.patients)
    pd.testing.assert_frame_equal(one.disparity, other.disparity, rtol=1e-10)
    assert (one.standardised is None) == (other.standardised is None)
    if one.standardised is not None and other.standardised is not None:
        pd.testing.assert_frame_equal(one.standardised.values, other.standardised.values, rtol=1e-10)


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 1000), pieces=st.integers(2, 6), by=st.sampled_from(["group", ("age_band", "sex")]))
def test_chunks_equal_the_whole(seed: int, pieces: int, by: str | tuple[str, ...]) -> None:
    frame = random_frame(800, seed)
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(frame) + 1, pieces - 1))
    chunks = np.split(np.arange(len(frame)), cuts)
    counted = add_counts([accumulate(frame.iloc[rows], by, windows="week") for rows in chunks])
    whole = group_metrics(frame, by, windows="week")
    parts = group_metrics(counted)
    assert_same(parts, whole)
    pd.testing.assert_frame_equal(parts.windows, whole.windows, rtol=1e-10)  # type: ignore[arg-type]


def test_chunks_with_other_labels() -> None:
    """Text columns know only what occurs in their chunk: the order of groups does not depend on the cut."""
    frame = random_frame(600, seed=3).astype({"group": object, "severity_arrival": object})
    frame.loc[frame.index[:40], "group"] = np.nan
    frame = frame.sort_values("group", ignore_index=True)
    chunks = [accumulate(frame.iloc[start : start + 100]) for start in range(0, 600, 100)]
    forwards, backwards = group_metrics(add_counts(chunks)), group_metrics(add_counts(chunks[::-1]))
    assert_same(forwards, backwards)
    assert list(forwards.values.index) == [*sorted(GROUPS), MISSING]
    pd.testing.assert_series_equal(forwards.n, group_metrics(frame).n)


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1 / 24, 0.5, 60.0]))
def test_properties(seed: int, scale: float) -> None:
    """Shares lie in [0, 1]; rows in any order, other names and another unit of time change nothing else."""
    rng = np.random.default_rng(seed)
    frame = random_frame(700, seed)
    metrics = group_metrics(frame, similar=None)
    hours = [name for name, definition in DEFINITIONS.items() if definition.unit == "hours"]
    shares = metrics.values.drop(columns=hours).to_numpy()
    assert np.all(np.isnan(shares) | ((shares >= 0) & (shares <= 1 + 1e-12)))
    waits = metrics.values[["wait_mean", "untreated_mean"]].dropna().to_numpy()
    assert np.all((waits >= 0) & (waits <= metrics.horizon))
    for name, value in metrics.indices.items():
        # With the groups' number G the coefficient of variation is at most sqrt(G - 1).
        assert np.isnan(value) or (-1 if name == "wait_time_equity" else 0) <= value <= np.sqrt(3), name

    assert_same(group_metrics(frame.iloc[rng.permutation(len(frame))], similar=None), metrics)
    names = dict(zip(GROUPS, rng.permutation(["w", "x", "y", "z"]), strict=True))
    renamed = group_metrics(frame.assign(group=frame["group"].cat.rename_categories(names)), similar=None)
    pd.testing.assert_frame_equal(renamed.values.rename_axis(None), metrics.values.rename(index=names).rename_axis(None))
    # Measured in days or minutes, with horizon and bins to match, shares stay and waits are scaled.
    times = {name: frame[name] * scale for name in ("arrival", "wait", "target_wait", "service_time")}
    scaled = group_metrics(frame.assign(**times), horizon=168.0 * scale, width=0.1 * scale, similar=None)
    expected = metrics.values.copy()
    expected[hours] *= scale
    pd.testing.assert_frame_equal(scaled.values, expected, rtol=1e-9)


def test_windows_by_arrival() -> None:
    """Edges belong to the window they open; who arrived outside counts, but in no window."""
    rows = [{"group": "a", "outcome": "left", "arrival": hour} for hour in (-1.0, 0.0, 9.9, 10.0, 29.9, 30.0)]
    metrics = group_metrics(table(rows, copies=30), windows=(0.0, 10.0, 30.0))
    assert metrics.window_patients is not None
    assert list(metrics.window_patients["left"]) == [60, 60]
    assert list(metrics.window_patients.index.get_level_values("window")) == [0.0, 10.0]
    assert metrics.n["a"] == 180
    weeks = group_metrics(table(rows, copies=30), windows="week").window_patients
    assert weeks is not None and list(weeks["left"]) == [30, 150]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("wait", -1.0, r"row 2: column 'wait': got .*-1.0.*, expected a finite number >= 0"),
        ("wait", np.nan, r"row 2: column 'wait': got .*nan.*, expected a finite number >= 0"),
        ("target_wait", 0.0, r"row 2: column 'target_wait': got .*0.0.*, expected a finite number > 0"),
        ("outcome", "cured", r"row 2: column 'outcome': got 'cured', expected one of \('treated-success'"),
        ("benefit", 1.5, r"row 2: column 'benefit': got .*1.5.*, expected at most the patient's demand"),
        ("demand", np.inf, r"row 2: column 'demand': got .*inf.*, expected a finite number >= 0"),
        ("counted", 2, r"row 2: column 'counted': got .*2.*, expected True or False"),
        ("arrival", np.nan, r"row 2: column 'arrival': got .*nan.*, expected a finite number"),
        ("episode", 1.5, r"row 2: column 'episode': got .*1.5.*, expected a whole number"),
    ],
)
def test_bad_values_are_named(column: str, value: object, message: str) -> None:
    frame = random_frame(5, seed=0).astype({"outcome": object, "demand": float, "counted": object, "episode": object})
    frame["demand"], frame["benefit"] = 1.0, 0.5
    check_frame(frame)
    frame[column] = [*frame[column][:2], value, *frame[column][3:]]
    with pytest.raises(ValueError, match=message):
        accumulate(frame)


def test_bad_arguments_are_named() -> None:
    frame = random_frame(50, seed=0)
    with pytest.raises(ValueError, match=r"column 'race': missing, expected it among"):
        accumulate(frame, "race")
    with pytest.raises(ValueError, match=r"column 'triage': missing"):
        accumulate(frame, strata="triage")
    with pytest.raises(ValueError, match=r"by: got \('sex', 'sex'\), expected different columns"):
        accumulate(frame, ("sex", "sex"))
    with pytest.raises(ValueError, match=r"windows: got 'month', expected one of \['day', 'week'\], or edges"):
        accumulate(frame, windows="month")
    with pytest.raises(ValueError, match=r"horizon, width: got 10.0, 3.0, expected a whole number of bins"):
        accumulate(frame, horizon=10.0, width=3.0)
    with pytest.raises(ValueError, match=r"width: got 0.2, expected 0.1 as in the first counts"):
        accumulate(frame) + accumulate(frame, width=0.2)
    with pytest.raises(ValueError, match="counts: got none"):
        add_counts([])
    with pytest.raises(ValueError, match="group_names: got None"):
        to_frame(random_records(3, seed=0))
    with pytest.raises(ValueError, match=r"records\[\d+\]: group: got .*, expected a number from 0 to 1"):
        to_frame(random_records(30, seed=0), GROUPS[:2])


def test_nobody_at_all() -> None:
    """No rows, or none that count: groups of no patients, not an error and not 0."""
    frame = random_frame(20, seed=0)
    for nobody in (frame.iloc[:0], frame.assign(counted=False)):
        metrics = group_metrics(nobody, windows="week")
        assert metrics.values.isna().all(axis=None) and list(metrics.n) == [0, 0, 0, 0]
        assert isinstance(accumulate(nobody) + accumulate(frame), Counts)
