"""A redrawn future of a hospital: what happened stays, and what follows has the law that it has given that."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hospital_gym.scenarios import SCENARIOS, Scenario
from hospital_gym.simulator.layout import IN_BED, WAITING
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


def test_what_has_happened_stays() -> None:
    simulator = begun(SCENARIOS["Rural"], seed=1, hours=300.0)
    before, observation, mask = simulator.patients.copy(), simulator.observation.copy(), simulator.mask.copy()
    arrived, shift = int(simulator.state.next_arrival), int(simulator.state.shift)
    nurses = simulator.nurses.copy()
    simulator.redraw_future(7)
    after = simulator.patients
    for name in (
        "arrival",
        "group",
        "severity",
        "severity_arrival",
        "status",
        "bed",
        "age",
        "decided",
        "benefit",
        "stage_begin",
    ):
        np.testing.assert_array_equal(after[name][:arrived], before[name][:arrived])
    np.testing.assert_array_equal(simulator.observation, observation)
    np.testing.assert_array_equal(simulator.mask, mask)
    np.testing.assert_array_equal(simulator.nurses[: shift + 1], nurses[: shift + 1])
    pending = np.isin(after["status"][:arrived], (IN_BED, WAITING))
    assert (after["next_change"][:arrived][pending] >= simulator.time).all()
    assert (after["next_change"][:arrived][pending] != before["next_change"][:arrived][pending]).all()
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
    left = patients["next_change"][patients["status"] == IN_BED] - now
    simulator.run_triage()
    return (
        float(later.min(initial=1e6)),
        float((later < 24.0 * np.ceil(now / 24.0)).sum()),
        float(left.sum()),
        float(simulator.records()["benefit"].sum()),
    )
