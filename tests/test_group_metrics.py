"""Metrics per group against values computed by hand and by other libraries."""

import json
import warnings
from pathlib import Path

import fairlearn.metrics
import lifelines
import lifelines.exceptions
import lifelines.utils
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sb3_grpo.fairness.facts import FACTS
from sb3_grpo.fairness.metrics import DEFINITIONS, episode_totals, group_metrics, policy_metrics
from sb3_grpo.fairness.metrics.relative_risk import _of_episodes
from sb3_grpo.fairness.metrics.waits import WaitStatistics, wait_statistics
from sb3_grpo.fairness.records import TREATED, to_frame
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


def exact_statistics(frame: pd.DataFrame) -> WaitStatistics:
    """The statistics of single waits, without bins."""
    events = frame["outcome"].map({"left": 1, "died-waiting": 2, "still-waiting": 3}).fillna(0).to_numpy().astype(np.int64)
    return wait_statistics(frame["wait"].to_numpy(), events, np.ones(len(frame)), horizon=168.0)


def test_waits_by_hand() -> None:
    """Of ten of a kind: treated after 2 and 9 h; left after 3, died and still waiting after 20 h.

    Product limit: 4/5 wait beyond 2 h, 4/5 * 2/3 beyond 9 h. Incidence: treated are 1/5, then 1/5 + 3/5 * 1/3 (after one
    in five had left).
    """
    frame = ten_of_each()
    found = exact_statistics(frame[frame["group"] == "b"])
    survival = 4 / 5 * 2 / 3
    assert found.mean == pytest.approx(2 + 4 / 5 * 7 + survival * (168 - 9))
    assert found.untreated == pytest.approx(2 + 4 / 5 * 7 + 3 / 5 * (168 - 9))
    assert found.median == np.inf and found.p95 == np.inf
    # Everybody in a is treated: both means are the plain mean, nothing is censored.
    everybody = exact_statistics(frame[frame["group"] == "a"])
    assert everybody == pytest.approx((5.5, 4.0, 10.0, 5.5))
    # In bins of 0.1 h, within half a bin.
    binned = group_metrics(frame, min_patients=10)
    names = ["wait_mean", "wait_median", "wait_p95", "untreated_mean"]
    np.testing.assert_allclose(binned.values.loc["a", names].to_numpy(dtype=float), everybody, atol=0.05 + 1e-9)
    assert binned.values["wait_mean"]["b"] == pytest.approx(found.mean, abs=0.05)
    assert binned.to_frame(text=True)["wait_median"]["b"] == "> 168"


def test_a_wait_of_exactly_the_target_is_in_time() -> None:
    frame = ten_of_each().assign(wait=8.0)
    np.testing.assert_allclose(group_metrics(frame, min_patients=10).values["in_time"], [1.0, 2 / 5])


def test_waits_beyond_the_horizon_are_censored_there() -> None:
    """Treated after 5, 10 and 30 h, looked at up to 20 h: 2/3 wait at first, then 1/3 to the end."""
    rows = [{"group": "a", "treated": 1, "wait": wait} for wait in (5.0, 10.0, 30.0)]
    found = group_metrics(table(rows, copies=10), horizon=20.0).values.loc["a"]
    assert found["wait_mean"] == pytest.approx(5 + 2 / 3 * 5 + 1 / 3 * 10, abs=0.05)
    assert found["wait_median"] == pytest.approx(10, abs=0.051) and found["wait_p95"] == np.inf
    assert found["wait_treated_mean"] == pytest.approx(15.0), "the mean of the treated knows no horizon"


def test_starving_a_group_shows_in_its_waits() -> None:
    """Half of b leaves after an hour: the treated alone wait as long as in a, and nothing is seen there."""
    row = {"target_wait": 8.0, "severity_arrival": "routine", "wait": 1.0, "outcome": "treated-success"}
    frame = table([{**row, "group": "a"}, {**row, "group": "b"}, {**row, "group": "b", "outcome": "left"}], copies=30)
    values = group_metrics(frame).values
    assert values["wait_treated_mean"]["a"] == values["wait_treated_mean"]["b"] == 1.0
    assert values["untreated_mean"]["a"] == pytest.approx(1.0, abs=0.06)
    assert values["untreated_mean"]["b"] == pytest.approx(0.5 + 0.5 * 168, abs=0.06)


def test_waits_against_lifelines() -> None:
    records = random_records(2500, seed=2)
    records["counted"] = True
    frame = to_frame(records, GROUPS)
    binned = group_metrics(frame).values
    for group in GROUPS:
        of_group = frame[frame["group"] == group]
        treated = of_group["outcome"].isin(TREATED)
        curve = lifelines.KaplanMeierFitter().fit(of_group["wait"], treated)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lifelines.exceptions.ApproximationWarning)  # exact for a step function
            mean = lifelines.utils.restricted_mean_survival_time(curve, 168.0)
        theirs = [
            mean,
            lifelines.utils.qth_survival_time(0.5, curve.survival_function_),
            lifelines.utils.qth_survival_time(0.05, curve.survival_function_),
        ]
        exact = exact_statistics(of_group)
        np.testing.assert_allclose(exact[:3], theirs, rtol=1e-9)
        np.testing.assert_allclose(
            binned.loc[group, ["wait_mean", "wait_median", "wait_p95"]].astype(float), theirs, atol=0.06
        )
        # Aalen-Johansen: ties are broken at random there, so waits of 0 are spread over the first hundredth of an hour.
        spread = of_group["wait"] + np.linspace(0, 0.01, len(of_group))
        state = np.where(treated, 1, np.where(of_group["outcome"].isin(["left", "died-waiting"]), 2, 0))
        incidence = lifelines.AalenJohansenFitter(calculate_variance=False).fit(spread, state, event_of_interest=1)
        steps = incidence.cumulative_density_
        lengths = np.diff([*steps.index, 168.0])
        assert exact.untreated == pytest.approx(float(((1 - steps.iloc[:, 0]) * lengths).sum()), abs=0.02)


def test_parity_against_fairlearn() -> None:
    """On the single patients, groups by age: everybody has both kinds of need."""
    frame = to_frame(random_records(2000, seed=4), GROUPS)
    frame = frame[frame["counted"]]
    treated = frame["outcome"].isin(TREATED).to_numpy(dtype=int)
    in_time = treated * (frame["wait"] <= frame["target_wait"]).to_numpy(dtype=int)
    need = (frame["severity_arrival"] != "routine").to_numpy(dtype=int)
    indices = group_metrics(frame, "age_band").indices
    for name, outcome in (("treated", treated), ("in_time", in_time)):
        arguments = (need, outcome)
        difference = fairlearn.metrics.demographic_parity_difference(*arguments, sensitive_features=frame["age_band"])
        ratio = fairlearn.metrics.demographic_parity_ratio(*arguments, sensitive_features=frame["age_band"])
        assert indices[f"{name}_parity_difference"] == pytest.approx(difference)
        assert indices[f"{name}_parity_ratio"] == pytest.approx(ratio)
    for name in ("equalized_odds_difference", "equalized_odds_ratio", "equal_opportunity_difference"):
        theirs = getattr(fairlearn.metrics, name)(need, in_time, sensitive_features=frame["age_band"])
        assert indices[name] == pytest.approx(theirs), name


def test_groups_without_anybody_in_need_are_not_compared_as_0() -> None:
    """b has nobody in need; with a rate of 0 for it, the difference would be 0.9."""
    row = {"wait": 1.0, "target_wait": 4.0, "severity_arrival": "routine"}
    rows = [{**row, "group": g, "outcome": "treated-success"} for g in "aabbcc"]
    rows += [
        {**row, "group": g, "severity_arrival": "urgent", "wait": w, "outcome": "transferred"}
        for g, w in zip("acc", (1, 1, 5), strict=True)
    ]
    indices = group_metrics(table(rows, copies=30)).indices
    assert indices["equal_opportunity_difference"] == pytest.approx(0.5)
    assert indices["equalized_odds_difference"] == pytest.approx(0.5)


def test_published_indices_by_hand() -> None:
    """a: 40 treated of 40, successes 20 of 30; b: 20 of 50, 10 of 10; all: 60 of 90 and 30 of 40."""
    metrics = group_metrics(ten_of_each(), min_patients=10)
    assert metrics.indices["published_demographic_parity"] == pytest.approx(1 - max(1 - 60 / 90, 60 / 90 - 2 / 5))
    assert metrics.indices["published_equalized_odds"] == pytest.approx(1 - max(30 / 40 - 2 / 3, 1 - 30 / 40))
    means = metrics.values["wait_mean"].to_numpy()
    cv = abs(means[1] - means[0]) / 2 / means.mean()
    assert metrics.indices["wait_time_equity"] == pytest.approx(1 - cv)


def test_disparities_know_what_is_better() -> None:
    table = group_metrics(ten_of_each(), min_patients=10).disparity
    assert tuple(table.loc["left"]) == pytest.approx(("b", 0.2, "a", 0.0, 0.2, 0.0))
    assert tuple(table.loc["treated"]) == pytest.approx(("b", 0.4, "a", 1.0, 0.6, 0.4))
    assert list(table.loc["wait_median", ["worst_group", "worst", "best_group"]]) == ["b", np.inf, "a"]
    assert table["gap"]["wait_median"] == np.inf and "transferred" not in table.index


def test_costs() -> None:
    """Shared costs of episodes are known for everybody together; a column of costs is known by group."""
    frame = ten_of_each()
    together = group_metrics(frame, min_patients=10, costs=[12.0, 18.0])
    assert together.overall["cost_per_treated"] == pytest.approx(30 / 60)
    assert together.overall["cost_per_benefit"] == pytest.approx(30 / 54)
    assert "cost_per_treated: not available by group: column cost" in together.messages
    each = group_metrics(frame.assign(cost=2.0), min_patients=10).values
    np.testing.assert_allclose(each["cost_per_treated"], [2.0, 5.0])
    np.testing.assert_allclose(each["cost_per_benefit"], [80 / 38, 100 / 16])


def simpson_table() -> pd.DataFrame:
    """Equal or better at each severity, b looks worse as it is sicker: in time .9 and .5 against .95 and .6."""
    rows = []
    for group, severity, n, good in (("a", "routine", 80, 72), ("a", "urgent", 20, 10), ("b", "routine", 20, 19)):
        rows += [{"group": group, "severity_arrival": severity, "wait": 1.0 if k < good else 9.0} for k in range(n)]
    rows += [{"group": "b", "severity_arrival": "urgent", "wait": 1.0 if k < 48 else 9.0} for k in range(80)]
    return pd.DataFrame(rows).assign(outcome="treated-success", target_wait=4.0)


def test_standardised_by_hand() -> None:
    """Both severities have 100 of 200 patients: the mean of the two rates."""
    metrics = group_metrics(simpson_table())
    np.testing.assert_allclose(metrics.values["in_time"], [0.82, 0.67])
    assert metrics.standardised is not None
    np.testing.assert_allclose(metrics.standardised.values["in_time"], [0.7, 0.775])
    np.testing.assert_allclose(metrics.standardised.mix["n"], [0.5, 0.5])
    said = [message for message in metrics.messages if message.startswith("in_time:")]
    assert said == [
        "in_time: b does worse than a as recorded (0.67 against 0.82) but better at equal severity_arrival (0.775 against "
        "0.7): the order depends on who is sicker."
    ]


def test_equal_mix_changes_nothing() -> None:
    """Standardised and raw agree where all groups have the same mix; then there is nothing to say."""
    frame = simpson_table()
    mirrored = pd.concat([frame[frame["group"] == "a"], frame[frame["group"] == "a"].assign(group="b")])
    metrics = group_metrics(mirrored)
    assert metrics.standardised is not None
    np.testing.assert_allclose(metrics.standardised.values["in_time"], metrics.values["in_time"])
    assert not any("as recorded" in message for message in metrics.messages)


def test_groups_without_common_strata_are_not_compared() -> None:
    """The published groups: all critical patients are a group of their own. 9 of a kind are too few to be weighted."""
    frame = simpson_table()
    alone = frame[frame["group"] == "b"].assign(group="c", severity_arrival="critical")
    few = frame[(frame["group"] == "a")].assign(group="d")
    few = pd.concat([few[few["severity_arrival"] == "routine"], few[few["severity_arrival"] == "urgent"].iloc[:9]])
    metrics = group_metrics(pd.concat([frame, alone, few], ignore_index=True))
    assert metrics.standardised is not None
    assert metrics.standardised.not_compared == {"c": "routine n=0, urgent n=0", "d": "urgent n=9"}
    assert metrics.standardised.values.loc[["c", "d"]].isna().all(axis=None)
    np.testing.assert_allclose(metrics.standardised.values["in_time"].loc[["a", "b"]], [0.7, 0.775])
    assert group_metrics(pd.concat([frame[frame["group"] == "a"], alone])).standardised is None


def test_relative_risk_of_patients_is_that_of_scipy() -> None:
    frame = ten_of_each()
    risk = group_metrics(frame, min_patients=10, reference="b").relative_risk
    assert risk is not None and risk.attrs["unit"] == "patient"
    theirs = stats.contingency.relative_risk(20, 30, 10, 10)
    interval = theirs.confidence_interval(0.95)
    np.testing.assert_allclose(risk.loc["a"], [2 / 3, interval.low, interval.high])
    np.testing.assert_allclose(risk.loc["b"], 1.0)
    with pytest.raises(ValueError, match=r"reference: got 'x', expected one of \['a', 'b'\]"):
        group_metrics(frame, reference="x")


def test_relative_risk_of_episodes_covers() -> None:
    """Both groups of an episode share good and bad days: 400 sets of 20 episodes, true ratio 0.75.

    At 95 % coverage the share of 400 intervals that cover lies in 0.95 +- 0.044 but for one time in 20,000.
    """
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        chance = np.array([0.6, 0.8]) + rng.uniform(-0.15, 0.15, (20, 1)) + rng.uniform(-0.05, 0.05, (20, 2))
        n = rng.integers(20, 60, (20, 2))
        good = rng.binomial(n, chance)
        exposed, control = (np.column_stack([good[:, k], n[:, k]]).astype(float) for k in (0, 1))
        _, low, high = _of_episodes(exposed, control, 0.95)
        covered += low <= 0.75 <= high
    assert 0.906 <= covered / 400 <= 0.994


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "guide" / "metrics.md").read_text(encoding="utf-8")
    indices = group_metrics(to_frame(random_records(600, seed=6), GROUPS)).indices
    needed = {column for fact in FACTS.values() for names in fact.needs for column in names}
    for name in (*DEFINITIONS, *indices, *sorted(needed)):
        assert f"`{name}`" in text, name
