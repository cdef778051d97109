"""A redrawn future of a hospital: what happened stays, and what follows has the law that it has given that."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from hospital_gym.scenarios import SCENARIOS, Scenario
from hospital_gym.simulator.futures import _residual_beyond
from hospital_gym.simulator.layout import DEADLINES, DISCHARGES, IN_BED, WAITING
from hospital_gym.simulator.simulator import Simulator

SMALL = replace(
    SCENARIOS["Rural"],
    beds=(8, 3, 3),
    requests_per_day=5.0,
    burn_in_hours=30.0,
    horizon_hours=120.0,
    counted_from=12.0,
    counted_tail=24.0,
    day_effect_cv=0.5,
)


def begun(scenario: Scenario, seed: int, hours: float) -> Simulator:
    simulator = Simulator(scenario)
    simulator.reset(seed)
    while simulator.time < hours and not simulator.done:
        simulator.step(simulator.triage_choice())
    return simulator


def scheduled(simulator: Simulator, kind: int) -> dict[int, float]:
    """Time of the event of each patient who has one, as the kernel will take them."""
    state = simulator.state
    n = int((state.n_discharges, state.n_deadlines)[kind])
    return dict(
        zip(simulator._events["patient"][kind, :n].tolist(), simulator._events["time"][kind, :n].tolist(), strict=True)
    )


def test_what_has_happened_stays() -> None:
    simulator = begun(replace(SCENARIOS["Rural"], requests_per_day=25.0), seed=1, hours=300.0)
    before, observation, mask = simulator.patients.copy(), simulator.observation.copy(), simulator.mask.copy()
    arrived, shift = int(simulator.state.next_arrival), int(simulator.state.shift)
    nurses = simulator.nurses.copy()
    events = [scheduled(simulator, kind) for kind in (DISCHARGES, DEADLINES)]
    simulator.redraw_future(7)
    after = simulator.patients
    drawn = ("service_hours", "stage_hours", "patience_hours", "success_draw", "stay", "deadline")
    for name in set(after.dtype.names) - set(drawn):
        np.testing.assert_array_equal(after[name][:arrived], before[name][:arrived])
    over = ~np.isin(before["status"][:arrived], (IN_BED, WAITING))
    for name in drawn:
        np.testing.assert_array_equal(after[name][:arrived][over], before[name][:arrived][over])
    np.testing.assert_array_equal(simulator.observation, observation)
    np.testing.assert_array_equal(simulator.mask, mask)
    np.testing.assert_array_equal(simulator.nurses[: shift + 1], nurses[: shift + 1])
    for kind, of_real in zip((DISCHARGES, DEADLINES), events, strict=True):
        redrawn = scheduled(simulator, kind)
        assert redrawn.keys() == of_real.keys() and len(redrawn) > 5
        assert all(time > simulator.time and time != of_real[number] for number, time in redrawn.items())
    assert [after["deadline"][number] for number in scheduled(simulator, DEADLINES)] == list(range(len(events[DEADLINES])))
    assert (np.diff(after["arrival"][arrived:]) >= 0).all() and (after["arrival"][arrived:] > simulator.time).all()


def test_future_depends_on_the_seed_and_on_nothing_else() -> None:
    simulator = begun(SMALL, seed=1, hours=20.0)
    snapshot = simulator.snapshot()
    ends = []
    for seed in (3, 3, 4):
        simulator.restore(snapshot)
        simulator.redraw_future(seed)
        simulator.run_triage()
        ends.append(simulator.records()["benefit"].sum())
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize("so_far", [0.0, 30.0, 400.0])
def test_what_is_left_of_stays_met_at_a_random_moment(so_far: float) -> None:
    """Against the integral of the survival function of the stay: mean 100 h, sigma 0.8."""
    law = stats.lognorm(0.8, scale=100.0 * np.exp(-0.32))
    uniform = np.array([1.0, 0.7, 0.1, 1e-4])
    hours = _residual_beyond(np.full(4, 100.0), np.full(4, 0.8), np.full(4, so_far), uniform)
    survival = [quad(law.sf, limit, np.inf, epsabs=1e-12)[0] for limit in (so_far, *hours)]
    np.testing.assert_allclose(np.divide(survival[1:], survival[0]), uniform, rtol=1e-6)


def test_redrawing_needs_an_episode() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        Simulator(SMALL).redraw_future(0)


@pytest.mark.parametrize("law", ["lognormal", "exponential"])
def test_the_real_future_is_like_the_redrawn_ones(law: str) -> None:
    """
    Given the past, the real future and k redrawn ones have one law, so the real one's rank among them is uniform. Episodes
    are independent. Four ranks of each law are tested with p < 0.001 each: a false alarm in at most 0.4 % of seeds.
    """
    scenario = replace(SMALL, service_law=law)
    n_episodes, n_futures = 200, 9
    ranks = np.zeros((n_episodes, 4))
    tie_breaker = np.random.default_rng(0)
    for episode in range(n_episodes):
        simulator = begun(scenario, seed=1000 + episode, hours=13.0)
        snapshot = simulator.snapshot()
        seen = []
        for future in range(n_futures + 1):
            simulator.restore(snapshot)
            if future:
                simulator.redraw_future(100 * episode + future)
            seen.append(_summary(simulator))
        table = np.array(seen) + 1e-9 * tie_breaker.random((n_futures + 1, 4))
        ranks[episode] = (table[1:] < table[0]).sum(axis=0)
    for of_statistic in ranks.T:
        counts = np.bincount(of_statistic.astype(int), minlength=n_futures + 1)
        assert stats.chisquare(counts).pvalue > 0.001


def _summary(simulator: Simulator) -> tuple[float, float, float, float]:
    """Next arrival, arrivals until midnight, hours left of those in beds together, and benefit until the end."""
    now, patients = simulator.time, simulator.patients.copy()
    later = patients["arrival"][patients["arrival"] > now]
    left = [time - now for time in scheduled(simulator, DISCHARGES).values()]
    simulator.run_triage()
    return (
        float(later.min(initial=1e6)),
        float((later < 24.0 * np.ceil(now / 24.0)).sum()),
        sum(left),
        float(simulator.records()["benefit"].sum()),
    )


def test_redrawn_futures_keep_nothing_of_the_real_one() -> None:
    """
    Ranks do not notice what all futures share. Where stays are exponential and the rate of arrivals is constant, hours left
    over their mean are Exp(1) whatever has been, in the real future and, independently, in the redrawn one. Six tests with
    p < 0.001 each: a false alarm in at most 0.6 % of seeds.
    """
    scenario = replace(SMALL, service_law="exponential", day_effect_cv=0.0, profile="flat")
    left: dict[str, list[tuple[float, float]]] = {"stay": [], "wait": [], "arrival": []}
    for episode in range(150):
        simulator = begun(scenario, seed=1000 + episode, hours=13.0)
        real = _units_left(simulator)
        simulator.redraw_future(episode)
        redrawn = _units_left(simulator)
        for name, pairs in left.items():
            pairs.extend(zip(real[name], redrawn[name], strict=True))
    for pairs in left.values():
        first, second = np.transpose(pairs)
        assert len(pairs) >= 150 and stats.kstest(second, "expon").pvalue > 0.001
        assert stats.spearmanr(first, second).pvalue > 0.001


def _units_left(simulator: Simulator) -> dict[str, list[float]]:
    """Hours left of stays, of stages of those who wait, and until the next arrival, each over its mean."""
    scenario, now, patients = simulator.scenario, simulator.time, simulator.patients
    out: dict[str, list[float]] = {"stay": [], "wait": [], "arrival": []}
    for number, time in sorted(scheduled(simulator, DISCHARGES).items()):
        patient = patients[number]
        mean = 24.0 * scenario.mean_stay_days[patient.age_band][patient.severity]
        if not np.isnan(patient.decided):
            mean *= simulator.constants["bed_stay"][0][3 * patient.age_band + patient.severity, patient.bed]
        out["stay"].append((time - now) / mean)
    for number, time in sorted(scheduled(simulator, DEADLINES).items()):
        patient = patients[number]
        slower = scenario.elderly_factor if patient.age_band == 2 else 1.0
        rate = 1.0 / (scenario.stage_hours[patient.severity] * slower) + 1.0 / scenario.patience_hours[patient.severity]
        out["wait"].append((time - now) * rate)
    out["arrival"].append((float(patients["arrival"][simulator.state.next_arrival]) - now) * scenario.requests_per_day / 24.0)
    return out
