"""The numbers of the hospitals: their arithmetic, their checks, and their YAML files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hospital_gym.groups import PUBLISHED_GROUPS, Grouping
from hospital_gym.scenarios import SCENARIOS, SEVERITY_MIXES, SURGE, URBAN, Scenario, describe, load_scenario
from hospital_gym.simulator.draws import draw_episode, roster


@pytest.mark.parametrize(
    ("name", "mean_stay_days", "all_beds", "by_type"),
    [
        ("Urban", 4.38, 1.04, (1.10, 1.00, 0.83)),
        ("Rural", 4.79, 1.03, (1.08, 1.00, 0.80)),
        ("Pediatric", 3.28, 1.04, (1.24, 0.98, 0.90)),
        ("Surge", 4.49, 1.02, (1.11, 0.95, 0.84)),
    ],
)
def test_offered_load(name: str, mean_stay_days: float, all_beds: float, by_type: tuple[float, ...]) -> None:
    """The loads for which the hospitals were designed, to the two digits with which they were stated."""
    scenario = SCENARIOS[name]
    assert scenario.mean_stay_hours / 24 == pytest.approx(mean_stay_days, abs=0.005)
    assert scenario.offered_load_all_beds == pytest.approx(all_beds, abs=0.006)
    np.testing.assert_allclose(scenario.offered_load, by_type, atol=0.006)


@pytest.mark.parametrize(("name", "needed"), [("Urban", 30.8), ("Rural", 10.1), ("Pediatric", 16.3), ("Surge", 43.6)])
def test_nurses_just_suffice(name: str, needed: float) -> None:
    """Need at full census, and need / present between 0.90 and 1.08 on every shift: beds bind mostly, staff on bad shifts."""
    scenario = SCENARIOS[name]
    assert scenario.nurses_needed[0] == pytest.approx(needed, abs=0.06)
    present = np.asarray(scenario.nurses) * (1 - scenario.absence * (1 - scenario.absence_covered))
    ratio = scenario.nurses_needed / present
    assert np.all((ratio > 0.90) & (ratio < 1.08)), ratio


def test_roster_is_whole_and_complete() -> None:
    assert roster(URBAN).tolist() == [[15, 6, 11], [13, 5, 9], [10, 4, 7]]
    for scenario in SCENARIOS.values():
        assert roster(scenario).sum(axis=1).tolist() == list(scenario.nurses)


def test_capacity_changes_of_surge_keep_the_mean_number_of_beds() -> None:
    assert sum((end - begin) * change for begin, end, _, change in SURGE.capacity_changes) == 0.0


def test_demand_shares_by_hand() -> None:
    """Urban: 0.6 x 1 + 0.25 x 2 = 1.1 a non-critical patient group's third, 0.15 x 4 = 0.6 critical."""
    grouping = Grouping(URBAN)
    assert grouping.names == PUBLISHED_GROUPS
    np.testing.assert_allclose(grouping.demand_share, np.array([1.1 / 3, 1.1 / 3, 1.1 / 3, 0.6]) / 1.7)


def test_intersectional_groups() -> None:
    grouping = Grouping(URBAN, ("age_band", "sex"))
    assert grouping.names == ("child-female", "child-male", "adult-female", "adult-male", "elderly-female", "elderly-male")
    attributes = {k: np.array(v) for k, v in {"age_band": [0, 2, 1], "sex": [1, 0, 1], "quintile": [1, 5, 3]}.items()}
    attributes["severity"] = np.array([2, 0, 1])
    assert grouping.assign(attributes).tolist() == [1, 4, 3]
    np.testing.assert_allclose(grouping.demand_share, 1 / 6)
    with pytest.raises(ValueError, match=r"group_by: got \('height',\)"):
        Grouping(URBAN, ("height",))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("beds", (80, -22, 18), r"beds: got \(80, -22, 18\), expected .*\[0, 100000\]"),
        ("beds", (80, 22), r"beds: got \(80, 22\).*shape \(3,\)"),
        ("beds", (0, 0, 0), "beds: .*at least one bed"),
        ("beds", (80, 22, 17.5), "beds: .*whole numbers"),
        ("nurses", (32, "many", 21), "nurses: got .*'many'"),
        ("age_mix", (0.5, 0.4, 0.2), r"age_mix: .*sums to 1.1; expected shares that sum to 1"),
        ("severity_mix", (0.6, 0.25, 0.1), "severity_mix: .*sums to 0.95"),
        ("severity_mix", "mixed", "severity_mix: got 'mixed'.*uclh_admitted"),
        ("requests_per_day", -1.0, "requests_per_day: got -1.0"),
        ("requests_per_day", float("nan"), "requests_per_day: got nan"),
        ("requests_per_day", 20_000, r"requests_per_day: got 20000, expected .*\[0, 10000\]"),
        ("requests_per_day", 10**400, "requests_per_day: got 1000"),
        ("burn_in_hours", 1e6, r"burn_in_hours: got 1000000.0, expected .*\[0, 100000\]"),
        ("horizon_hours", 1e6, r"horizon_hours: got 1000000.0, expected .*\[1, 100000\]"),
        (
            "ramp",
            ((0.0, 5000.0),),
            r"requests_per_day: got 28.5, .*ramp \(5000\).* = 672 is 3.99e\+06 requests .*at most 2000000",
        ),
        ("profile", "mars", "profile: got 'mars', expected england or uihc or flat$"),
        ("profile", np.full((7, 24), 1 / 100), r"profile: got an array with sum 1.68; accepted: .*shape \(7, 24\)"),
        ("profile", np.full((24, 7), 1 / 168), r"profile: got an array of shape \(24, 7\)"),
        ("profile", [["1"] * 24] * 7, r"profile: got .*, expected england or uihc or flat, or 7 rows \(Monday first\) of 24"),
        ("profile", 3, r"profile: got 3, expected england"),
        ("service_law", "pareto", "service_law: got 'pareto', expected lognormal or exponential"),
        ("alternative_bed", "sofa", "alternative_bed: got 'sofa'"),
        ("capacity_changes", ((10.0, 5.0, 0.0, 1.0),), "capacity_changes: got"),
        ("capacity_changes", ((0.0, 5.0, 3.0, 1.0),), "capacity_changes: got"),
        (
            "capacity_changes",
            ((0.0, 5.0, 0.0, -6.5),),
            r"capacity_changes: got \(0.0, 5.0, 0.0, -6.5\), .*whole number of beds",
        ),
        (
            "capacity_changes",
            ((0.0, 5.0, 1.0, -23.0),),
            r"with -1 beds of type 1 at hour 0, expected at least 0 of beds = \(80",
        ),
        ("capacity_changes", ((0, 9, 2, -10), (5, 6, 2, -9), (6, 9, 2, 3)), "with -1 beds of type 2 at hour 5"),
        ("ramp", ((4.0, 1.0), (3.0, 1.0)), "ramp: got days"),
        ("equipment_in_maintenance", 23, "equipment_in_maintenance: got 23, expected at most equipment = 22"),
        ("maintenance_hours", 80.0, "maintenance_hours: got 80.0"),
        ("horizon_hours", 100.0, "horizon_hours: got 100.0, expected more than .* = 120"),
        ("wait_reserve", True, "wait_reserve: got True"),
        ("beds", ("1", "2", "3"), r"beds: got \('1', '2', '3'\), expected beds by type: numbers"),
        ("beds", (True, 2, 3), r"beds: got \(True, 2, 3\), expected .*numbers"),
        ("beds", b"123", "beds: got b'123'"),
        ("absence", "0.1", "absence: got '0.1', expected .*a number"),
        (
            "critical_in_ward",
            (10.0, 1.2),
            r"critical_in_ward: got \(10.0, 1.2\), .*benefit in \[0, 1\] and one on the stay > 0",
        ),
        ("child_in_general", (0.5, 0.0), r"child_in_general: got \(0.5, 0.0\)"),
        ("adult_in_paediatric", (1.1, 1.0), r"adult_in_paediatric: got \(1.1, 1.0\)"),
        ("name", "", "name: got ''"),
        ("name", "../up", r"name: got '../up', expected 1 to 100 letters, digits, spaces, '-', '_' and '\.'"),
        ("name", ".hidden", "name: got '.hidden'"),
        ("name", "a\n", "name: got 'a.n'"),
        ("name", 5, "name: got 5"),
    ],
)
def test_bad_numbers_are_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(URBAN, **{key: value})


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    """Seven rows of 24 shares are a profile too; all arrivals on Tuesdays from 3 to 4 are then there and nowhere else."""
    shares: Any = np.zeros((7, 24))
    shares[1, 3] = 1.0
    scenario = replace(URBAN, profile=shares, burn_in_hours=0.0)
    file = tmp_path / "own.yml"
    scenario.to_yaml(str(file))
    assert Scenario.from_yaml(str(file)) == scenario and hash(scenario) == hash(replace(scenario, profile=shares.tolist()))
    patients = draw_episode(scenario, Grouping(scenario), seed=0, episode=0).patients
    arrived = patients["arrival"][patients["arrival"] > 0]
    assert len(arrived) > 300 and set(np.floor(arrived % 168)) == {27.0}


def test_good_numbers_are_accepted() -> None:
    """The edges of what the last test refuses."""
    for name in ("St. Marys", "-", "Klinik_Süd 2.0"):
        assert replace(URBAN, name=name).name == name
    # All 22 paediatric beds closed, by two changes that overlap; the third begins when the first has ended.
    closed = ((0, 9, 1, -12), (5, 20, 1, -10), (9, 30, 1, -12))
    assert replace(URBAN, capacity_changes=closed).capacity_changes == tuple(tuple(map(float, row)) for row in closed)
    numbers: dict[str, Any] = {"beds": np.array([80, 22, 18]), "absence": np.float32(0.5), "nurses": (np.int64(32), 27.0, 21)}
    mixed = replace(URBAN, **numbers)
    assert (mixed.beds, mixed.absence, mixed.nurses) == ((80, 22, 18), 0.5, (32, 27, 21))
    assert replace(URBAN, critical_in_ward=(0.0, 10.0)).critical_in_ward == (0.0, 10.0)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_yaml_round_trip(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "hospital.yml")
    SCENARIOS[name].to_yaml(path)
    assert Scenario.from_yaml(path) == SCENARIOS[name]
    assert load_scenario(path) == SCENARIOS[name]


def test_yaml_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("name: Mine\nbase: Rural\nbeds: [30, 4, 6]\nseverity_mix: uclh_admitted\n")
    mine = Scenario.from_yaml(str(path))
    assert (mine.name, mine.beds, mine.severity_mix) == ("Mine", (30, 4, 6), SEVERITY_MIXES["uclh_admitted"])
    assert mine.horizon_hours == SCENARIOS["Rural"].horizon_hours


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bedz: [1, 2, 3]\n", "mine.yml: unknown key 'bedz'; known keys are base, name, beds"),
        ("beds: [1, -2, 3]\n", r"mine.yml: beds: got \(1, -2, 3\)"),
        ("base: Moon\n", "mine.yml: base: got 'Moon'"),
        ("base: [1]\n", r"mine.yml: base: got \[1\], expected one of"),
        ("beds: [yes, 2, 3]\n", r"mine.yml: beds: got \(True, 2, 3\)"),
        ("name: Mine\nbeds: [1, 2, 3]\nname: Yours\n", "mine.yml: line 3: the key 'name' occurs twice"),
        ("name: 2024-13-45\n", "mine.yml: month must be"),
        ("name: Spital Z\udcfcrich\n", "mine.yml, line 1: got the byte 0xfc; accepted: text in UTF-8"),
        ("base: Rural\nname: a/b\n", "mine.yml: name: got 'a/b'"),
        ("- 1\n", "mine.yml: expected a mapping"),
        ("beds: [1,\n", "mine.yml: not valid YAML"),
    ],
)
def test_bad_yaml_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        Scenario.from_yaml(str(path))


def test_unknown_scenarios_are_named() -> None:
    for wrong in ("Moon", "Hospital-Moon-v0"):
        with pytest.raises(ValueError, match=f"scenario: got '{wrong}', expected one of .*Urban"):
            load_scenario(wrong)
    with pytest.raises(ValueError, match=r"no file 'nowhere\.yml'"):
        load_scenario("nowhere.yml")


def test_every_number_has_unit_and_source() -> None:
    rows = describe(URBAN)
    assert len(rows) > 55
    assert all(unit and source for _, _, unit, source in rows)
