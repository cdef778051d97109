"""The simulator's rules on hospitals small enough to be worked out by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hospital_gym.groups import Grouping
from hospital_gym.records import OUTCOMES
from hospital_gym.scenarios import SCENARIOS, URBAN, Scenario
from hospital_gym.simulator.draws import Draws, draw_episode
from hospital_gym.simulator.layout import ADMIT, ALTERNATIVE, OVERTIME, PATIENT, SURGE_BLOCK, TRANSFER, WAIT, shift_kind
from hospital_gym.simulator.simulator import Simulator

CHILD, ADULT, ELDERLY = 0, 1, 2
ROUTINE, URGENT, CRITICAL = 0, 1, 2
NEVER = 1e9

TINY = replace(
    URBAN,
    name="Tiny",
    beds=(1, 1, 1),
    burn_in_hours=0.0,
    horizon_hours=100.0,
    counted_from=10.0,
    counted_tail=10.0,
    surge_block_beds=(2, 1, 1),
    overtime_threshold=1,
    wait_reserve=1,
)
"""One bed of each type, plenty of nurses (Urban's), nobody but who is put there by hand."""


def patient(arrival: float, age_band: int, severity: int, stay: float = 1000.0, **fields: Any) -> dict[str, Any]:
    values = {
        "arrival": arrival,
        "age_band": age_band,
        "severity_arrival": severity,
        "severity": severity,
        "demand": URBAN.need_weight[severity],
        "group": 3 if severity == CRITICAL else age_band,
        "service_hours": stay,
        "stage_hours": NEVER,
        "patience_hours": NEVER,
        "decided": np.nan,
        "bed": -1,
    }
    return {**values, **fields}


def hospital(scenario: Scenario, *patients: dict[str, Any], nurses: tuple[int, ...] = (20, 10, 10)) -> Simulator:
    """A simulator at its first decision with exactly these patients."""
    simulator = Simulator(scenario)
    rows = np.zeros(len(patients), dtype=PATIENT)
    for row, fields in zip(rows, patients, strict=True):
        for name, value in fields.items():
            row[name] = value
    simulator.begin(Draws(rows, np.tile(np.array([nurses]), (20, 1)), first_maintenance=NEVER))
    return simulator


def valid(simulator: Simulator) -> set[int]:
    return set(np.flatnonzero(simulator.mask).tolist())


def queue(age_band: int, severity: int) -> int:
    return 3 * age_band + severity


def test_benefit_decays_beyond_the_target() -> None:
    """An adult urgent patient is admitted 10 h after arrival: 2 x exp(-(10 - 4) / 24)."""
    first = patient(1.0, ADULT, URGENT, stay=10.0)
    second = patient(1.0, ADULT, URGENT)
    simulator = hospital(replace(TINY, alternative_bed="paediatric", beds=(1, 0, 1)), first, second)
    assert simulator.time == 1.0 and valid(simulator) >= {ADMIT + queue(ADULT, URGENT)}
    result = simulator.step(ADMIT + queue(ADULT, URGENT))
    assert result.elapsed == 0.0 and simulator.group_rewards.tolist() == [0.0, 2.0, 0.0, 0.0]
    assert simulator.group_exposure.tolist() == [0.0, 2.0, 0.0, 0.0]
    while simulator.time < 11.0:  # the surge block and the transfer are declined
        simulator.step(WAIT)
    simulator.step(ADMIT + queue(ADULT, URGENT))
    assert simulator.group_rewards[1] == pytest.approx(2 * np.exp(-6 / 24))
    records = simulator.records()
    assert records["wait"].tolist() == [0.0, 10.0] and records["matched"].tolist() == [True, True]


def test_worsening_keeps_group_and_demand_and_moves_the_queue() -> None:
    """Elderly routine, worse after 20 h (urgent) and 30 h (critical), admitted to a critical bed at 40 h.

    Decay: (20 - 8) / 38.4 in stage 1, 10 / 19.2 in stage 2, 10 / 9.6 in stage 3; no grace after the first stage.
    """
    old = patient(0.0, ELDERLY, ROUTINE, stage_hours=[20.0, 10.0, NEVER], service_hours=[5.0, 6.0, 7.0])
    blocker = patient(0.0, ADULT, ROUTINE)
    closer = patient(40.0, CHILD, ROUTINE)  # makes an event at 40 h
    scenario = replace(TINY, beds=(1, 1, 1), alternative_bed="paediatric", transfer_slots_per_day=0.0, transfer_slots_cap=0.0)
    scenario = replace(scenario, budget_per_day=0.0, budget_cap=0.0)
    simulator = hospital(scenario, blocker, old, closer)
    simulator.step(ADMIT + queue(ADULT, ROUTINE))
    assert valid(simulator) == {ALTERNATIVE + queue(ELDERLY, ROUTINE), WAIT}
    seen = set()
    while simulator.time < 40.0:
        simulator.step(WAIT)
        seen |= {k for k in range(9) if simulator.state.queue_count[k]}
    # A critical bed is free from 30 h on and may be held for 2 h: then the triage rule admits.
    assert seen >= {queue(ELDERLY, ROUTINE), queue(ELDERLY, URGENT), queue(ELDERLY, CRITICAL)}
    row = simulator.records()[1]
    assert row["wait"] == pytest.approx(32.0) and row["bed"] == 2 and row["matched"]
    assert (row["group"], row["severity_arrival"], row["severity_decision"], row["demand"]) == (2, ROUTINE, CRITICAL, 1.0)
    assert row["benefit"] == pytest.approx(np.exp(-(12 / 38.4 + 10 / 19.2 + 2 / 9.6)))
    assert row["service_time"] == 7.0


@pytest.mark.parametrize(
    ("age_band", "severity", "bed", "benefit", "stay"),
    [
        (ADULT, CRITICAL, 0, 0.65, 1.2),
        (CHILD, CRITICAL, 1, 0.65, 1.2),
        (CHILD, ROUTINE, 0, 0.85, 1.1),
        (ADULT, ROUTINE, 2, 1.0, 1.0),
    ],
)
def test_alternative_beds_cost_benefit_and_time(age_band: int, severity: int, bed: int, benefit: float, stay: float) -> None:
    simulator = hospital(TINY, patient(0.5, age_band, severity, stay=30.0))
    simulator.step(ALTERNATIVE + queue(age_band, severity))
    row = simulator.records()[0]
    assert (row["bed"], row["matched"]) == (bed, False)
    assert row["benefit"] == pytest.approx(URBAN.need_weight[severity] * benefit)
    assert row["service_time"] == pytest.approx(30.0 * stay)


def test_success_compares_the_drawn_number_with_the_chance() -> None:
    """An adult critical patient in a ward: 0.90 x 0.65 = 0.585."""
    for draw, outcome in ((0.58, "treated-success"), (0.59, "treated-failure")):
        simulator = hospital(TINY, patient(0.5, ADULT, CRITICAL, stay=3.0, success_draw=draw))
        simulator.step(ALTERNATIVE + queue(ADULT, CRITICAL))
        assert simulator.done  # nobody else comes
        assert OUTCOMES[simulator.records()[0]["outcome"]] == outcome


def test_leaving_and_dying_count_with_nothing() -> None:
    leaver = patient(0.0, CHILD, ROUTINE, patience_hours=[5.0, NEVER, NEVER])
    dying = patient(0.0, ADULT, CRITICAL, stage_hours=[NEVER, NEVER, 7.0])
    stays = patient(0.0, ADULT, ROUTINE)
    simulator = hospital(replace(TINY, budget_cap=0.0), leaver, dying, stays, nurses=(0, 0, 0))
    exposure = np.zeros(4)
    while not simulator.done:
        simulator.step(WAIT)
        exposure += simulator.group_exposure
    records = simulator.records()
    assert [OUTCOMES[o] for o in records["outcome"]] == ["left", "died-waiting", "still-waiting"]
    assert records["wait"].tolist() == [5.0, 7.0, 100.0] and records["benefit"].tolist() == [0.0, 0.0, 0.0]
    assert exposure.tolist() == [1.0, 1.0, 0.0, 4.0]


def test_waiting_is_masked_while_too_many_beds_or_for_too_long() -> None:
    person = patient(1.0, ADULT, ROUTINE)
    three = hospital(replace(TINY, beds=(2, 1, 1)), person)
    assert WAIT not in valid(three)  # two matched beds free, one may be held
    one = hospital(TINY, person)
    assert WAIT in valid(one)
    assert one.step(WAIT).elapsed == pytest.approx(2.0)
    assert WAIT not in valid(one) and ADMIT + queue(ADULT, ROUTINE) in valid(one)
    assert one.step(WAIT).invalid and one.records()[0]["wait"] == pytest.approx(2.0)


def test_transfers_need_slot_budget_and_no_matched_bed() -> None:
    people = [patient(1.0, ADULT, URGENT) for _ in range(3)]
    simulator = hospital(replace(TINY, budget_per_day=0.0, budget_cap=4.0, transfer_slots_per_day=0.0), *people)
    assert TRANSFER + queue(ADULT, URGENT) not in valid(simulator)  # the general bed is free
    simulator.step(ADMIT + queue(ADULT, URGENT))
    assert TRANSFER + queue(ADULT, URGENT) in valid(simulator)
    simulator.step(TRANSFER + queue(ADULT, URGENT))
    assert TRANSFER + queue(ADULT, URGENT) not in valid(simulator)  # one slot at the start, none since
    share = Grouping(TINY).demand_share
    expected = -0.7 * share
    expected[1] += 2 * 0.85  # 2 h of transport stay within the target of 4 h
    np.testing.assert_allclose(simulator.group_rewards, expected, rtol=1e-6)
    assert simulator.group_rewards.sum() == pytest.approx(2 * 0.85 - 0.7)
    row = simulator.records()[1]
    assert (OUTCOMES[row["outcome"]], row["wait"], row["bed"]) == ("transferred", 2.0, -1)
    assert simulator.counted_cost == 0.0 and simulator.state.total_cost == 0.7  # before the counted window


def test_surge_block_opens_after_the_delay_brings_nurses_and_closes() -> None:
    people = [patient(20.0, ADULT, ROUTINE, stay=60.0) for _ in range(4)]
    simulator = hospital(replace(TINY, alternative_bed="paediatric", beds=(1, 0, 0)), *people)
    simulator.step(ADMIT + queue(ADULT, ROUTINE))
    assert SURGE_BLOCK in valid(simulator)
    simulator.step(SURGE_BLOCK)
    assert SURGE_BLOCK not in valid(simulator) and simulator.counted_cost == pytest.approx(1.6)
    while simulator.time < 24.0:
        simulator.step(WAIT)
    assert simulator.state.capacity.tolist() == [3, 0, 0]
    for _ in range(2):
        simulator.step(ADMIT + queue(ADULT, ROUTINE))
    assert [r["wait"] for r in simulator.records()] == [0.0, 4.0, 4.0, pytest.approx(simulator.time - 20.0)]
    while simulator.time < 48.0:
        simulator.step(WAIT)
    assert simulator.state.capacity.tolist() == [1, 0, 0] and simulator.state.occupied.tolist() == [
        3,
        0,
        0,
    ]  # nobody is evicted


def test_nurses_are_nested_and_critical_admissions_may_stretch() -> None:
    """With a hundredth of the usual ratios an adult urgent patient and a child need 25 nurses, a critical one 50."""
    scenario = replace(TINY, beds=(9, 9, 9), wait_reserve=9, patients_per_nurse=(0.05, 0.04, 0.04, 0.02), shift_need=(1, 1, 1))
    kinds = ((ADULT, URGENT), (CHILD, ROUTINE), (ADULT, CRITICAL))

    def admissible(*nurses: int) -> set[tuple[int, int]]:
        simulator = hospital(scenario, *(patient(0.5, *kind) for kind in kinds), patient(0.75, ADULT, ROUTINE), nurses=nurses)
        while simulator.time < 0.75:  # until everybody is there
            simulator.step(WAIT)
        return {kind for kind in kinds if ADMIT + queue(*kind) in valid(simulator)}

    assert admissible(0, 0, 50) == set(kinds)  # a critical-care nurse may nurse anybody
    assert admissible(30, 0, 0) == {(ADULT, URGENT)}  # a general nurse only general patients
    assert admissible(0, 30, 0) == {(ADULT, URGENT), (CHILD, ROUTINE)}
    assert (ADULT, CRITICAL) in admissible(0, 0, 46)  # 1.1 x 46 > 50
    assert (ADULT, CRITICAL) not in admissible(0, 0, 45)


def test_overtime_only_where_staff_blocks_a_bed() -> None:
    simulator = hospital(replace(TINY, wait_reserve=1), patient(0.5, ADULT, ROUTINE))
    assert OVERTIME not in valid(simulator)
    blocked = hospital(TINY, patient(0.5, ADULT, ROUTINE), nurses=(0, 0, 0))
    assert OVERTIME in valid(blocked) and ADMIT + queue(ADULT, ROUTINE) not in valid(blocked)
    began = blocked.time
    blocked.step(OVERTIME)
    assert ADMIT + queue(ADULT, ROUTINE) in valid(blocked) and OVERTIME not in valid(blocked)
    blocked.step(ADMIT + queue(ADULT, ROUTINE))
    assert blocked.state.overtime_until == pytest.approx(began + 8.0)


def test_equipment_limits_critical_patients_and_is_maintained() -> None:
    people = [patient(0.5, ADULT, CRITICAL) for _ in range(3)]
    scenario = replace(TINY, beds=(9, 9, 9), equipment=2, equipment_in_maintenance=1, wait_reserve=9)
    simulator = hospital(scenario, *people)
    for _ in range(2):
        simulator.step(ADMIT + queue(ADULT, CRITICAL))
    assert not valid(simulator) & {ADMIT + queue(ADULT, CRITICAL), ALTERNATIVE + queue(ADULT, CRITICAL)}
    grouping = Grouping(URBAN)
    draws = [draw_episode(URBAN, grouping, 0, k) for k in range(40)]
    begins = np.array([d.first_maintenance for d in draws])
    assert np.all((begins >= -168.0) & (begins < -96.0)) and np.ptp(begins) > 30
    real = Simulator(URBAN)
    real.begin(draws[0])
    while not real.done and not (real.state.next_maintenance > real.time and real.state.equipment == 20):
        real.step(WAIT)
    assert real.state.next_maintenance - real.time <= 8.0


@pytest.mark.parametrize(
    "off",
    [{"maintenance_hours": 0.0}, {"equipment_in_maintenance": 22}, {"maintenance_hours": 0.0, "equipment_in_maintenance": 22}],
)
def test_maintenance_can_be_switched_off(off: dict[str, Any]) -> None:
    simulator = Simulator(replace(URBAN, **off))
    simulator.reset(seed=0)
    simulator.run_triage()
    assert simulator.done and simulator.state.equipment == 22 and simulator.state.in_maintenance == 0


@pytest.mark.parametrize("burn_in", [0.0, 12.0, 100.0, 150.5, 168.0])
def test_shifts_follow_the_clock_whatever_the_burn_in(burn_in: float) -> None:
    """Day 07-15 h, evening 15-23 h, night 23-07 h."""
    simulator = Simulator(replace(URBAN, burn_in_hours=burn_in))
    simulator.reset(seed=1)
    seen = set()
    for _ in range(300):
        hour = simulator.time % 24.0
        kind = 0 if 7.0 <= hour < 15.0 else 1 if 15.0 <= hour < 23.0 else 2
        assert shift_kind(int(simulator.state.shift)) == kind, hour
        seen.add(kind)
        simulator.step(simulator.triage_choice())
    assert seen == {0, 1, 2}
    assert len(simulator.nurses) >= (504.0 + burn_in) / 8


def test_snapshots_belong_to_a_hospital_and_its_groups() -> None:
    urban = Simulator(URBAN)
    with pytest.raises(RuntimeError, match="call reset"):
        urban.snapshot()
    urban.reset(seed=0)
    with pytest.raises(ValueError, match=r"snapshot: got one of 'Urban' .* as here: 'Rural'"):
        Simulator(SCENARIOS["Rural"]).restore(urban.snapshot())
    with pytest.raises(ValueError, match=r"snapshot: got one of 'Urban' with groups .*'critical'"):
        Simulator(URBAN, group_by=("sex",)).restore(urban.snapshot())


def test_bed_changes_of_the_scenario_come_and_go() -> None:
    scenario = replace(
        TINY, beds=(3, 1, 1), capacity_changes=((5.0, 20.0, 0.0, -2.0),), wait_reserve=9, alternative_bed="paediatric"
    )
    people = [patient(t, ADULT, ROUTINE, stay=500.0) for t in (1.0, 1.0, 6.0, 21.0)]
    simulator = hospital(scenario, *people)
    for _ in range(2):
        simulator.step(ADMIT + queue(ADULT, ROUTINE))
    assert simulator.time == 6.0 and simulator.state.capacity[0] == 1 and simulator.state.occupied[0] == 2
    assert ADMIT + queue(ADULT, ROUTINE) not in valid(simulator)
    while ADMIT + queue(ADULT, ROUTINE) not in valid(simulator):
        simulator.step(WAIT)
    assert simulator.time == 20.0 and simulator.state.capacity[0] == 3


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_state_stays_consistent_under_random_decisions(name: str) -> None:
    """Counters kept along the way equal what a recount of the patients gives."""
    simulator, rng = Simulator(SCENARIOS[name]), np.random.default_rng(1)
    simulator.reset(seed=5)
    while not simulator.done:
        simulator.step(int(rng.choice(np.flatnonzero(simulator.mask))))
        if rng.random() > 0.05:
            continue
        state, patients = simulator.state, simulator.patients
        waiting, in_bed = patients[patients["status"] == 1], patients[patients["status"] == 2]
        assert state.n_waiting == len(waiting) == state.queue_count.sum()
        np.testing.assert_array_equal(state.occupied, np.bincount(in_bed["bed"], minlength=3))
        assert state.equipment_used == np.sum(in_bed["severity"] == CRITICAL)
        ratio = np.where(
            in_bed["severity"] == 2, 2.0, np.where((in_bed["severity"] == 1) | (in_bed["age_band"] == 0), 4.0, 5.0)
        )
        assert state.care.sum() == pytest.approx((1 / ratio).sum(), abs=1e-9)
        np.testing.assert_array_equal(simulator.groups["waiting"], np.bincount(waiting["group"], minlength=4))
        for k in range(9):
            mine = waiting[3 * waiting["age_band"] + waiting["severity"] == k]
            if len(mine):
                assert patients[state.queue_head[k]]["arrival"] == mine["arrival"].min()
            assert state.queue_arrivals[k] == pytest.approx(mine["arrival"].sum(), rel=1e-9, abs=1e-6)


def test_attributes_follow_the_mix_and_change_nothing_by_sex() -> None:
    """About 29,000 patients: shares within 4 standard errors (one test in 8,000 would fail by chance per share)."""
    grouping = Grouping(URBAN)
    patients = np.concatenate([draw_episode(URBAN, grouping, 3, k).patients for k in range(36)])
    arrived = patients[patients["status"] == 0]
    n = len(arrived)
    for band in range(3):
        assert abs(np.mean(arrived["age_band"] == band) - 1 / 3) < 4 * np.sqrt(2 / 9 / n)
    for severity, share in enumerate(URBAN.severity_mix):
        assert abs(np.mean(arrived["severity_arrival"] == severity) - share) < 4 * np.sqrt(share * (1 - share) / n)
    assert abs(np.mean(arrived["sex"]) - 0.5) < 4 * 0.5 / np.sqrt(n)
    assert np.all((arrived["age"] >= np.array([0, 18, 65])[arrived["age_band"]]) & (arrived["quintile"] >= 1))
    for band in range(3):  # stays: mean and log standard deviation of the table
        mine = arrived[arrived["age_band"] == band]
        for severity in range(3):
            hours = mine["service_hours"][:, severity]
            sigma = URBAN.log_sigma_stay[band][severity]
            assert abs(np.log(hours).std() - sigma) < 4 * sigma / np.sqrt(2 * len(mine))
            center = np.log(24 * URBAN.mean_stay_days[band][severity]) - sigma**2 / 2
            assert abs(np.log(hours).mean() - center) < 4 * sigma / np.sqrt(len(mine))
