"""The rules in use today: the order they give, their escalation, and that no loophole beats them."""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest

from hospital_gym.heuristics import (
    HEURISTICS,
    RULES,
    Escalation,
    HeuristicPolicy,
    Situation,
    c_mu_index,
    make_heuristic,
)
from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.observation import ObservationLayout
from hospital_gym.scenarios import SCENARIOS, URBAN
from hospital_gym.simulator.layout import ADMIT, ALTERNATIVE, OVERTIME, SURGE_BLOCK, TRANSFER, WAIT

LAYOUT = ObservationLayout(4)
CHILD_ROUTINE, ADULT_ROUTINE, ADULT_URGENT, ADULT_CRITICAL, ELDERLY_ROUTINE, ELDERLY_CRITICAL = 0, 3, 4, 5, 6, 8


def observation(
    waits: dict[int, float], valid: list[int], free: tuple[int, int, int] = (0, 0, 0), rates: Any = 0.85, count: int = 1
) -> npt.NDArray[np.float32]:
    """An observation: heads that waited so many hours, ``count`` patients in each of their classes, valid actions."""
    out = np.zeros(LAYOUT.size, dtype=np.float32)
    for queue, hours in waits.items():
        out[LAYOUT.slices["queue_count"].start + queue] = count / 20
        out[LAYOUT.slices["head_wait"].start + queue] = np.log1p(hours / URBAN.target_wait[queue % 3])
    out[LAYOUT.slices["beds_free"]] = np.array(free) / 20
    out[LAYOUT.slices["benefit_rate"]] = rates
    out[LAYOUT.slices["action_mask"].start + np.array([*valid, WAIT])] = 1
    return out


def rule(name: str, **thresholds: Any) -> HeuristicPolicy:
    return HeuristicPolicy(URBAN, RULES[name](URBAN), replace(Escalation.plain(URBAN), **thresholds))


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_triage_on_observations_is_the_rule_of_the_burn_in(name: str) -> None:
    """The policy that reads the observation and the compiled rule that reads the state choose alike, decision by decision."""
    env = HospitalEnv(replace(SCENARIOS[name], horizon_hours=240.0))
    policy, rng = make_heuristic("triage", env), np.random.default_rng(0)
    seen, _ = env.reset(seed=3)
    for _ in range(400):
        action = int(policy.predict(seen)[0])
        assert action == env.simulator.triage_choice()
        if rng.random() < 0.3:  # leave the beaten track, so that other situations occur
            action = int(rng.choice(np.flatnonzero(env.action_masks())))
        seen, _, _, truncated, _ = env.step(action)
        if truncated:
            seen, _ = env.reset()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("first-come", ELDERLY_ROUTINE),  # 30 h
        ("triage", ADULT_CRITICAL),
        ("relative-wait", ADULT_CRITICAL),  # 6 h = 6 targets; routine 30 h = 3.75; urgent 20 h = 5
        ("c-mu", ADULT_CRITICAL),
        ("shortest-first", CHILD_ROUTINE),
    ],
)
def test_orders(name: str, expected: int) -> None:
    waits = {CHILD_ROUTINE: 1.0, ADULT_URGENT: 20.0, ADULT_CRITICAL: 6.0, ELDERLY_ROUTINE: 30.0}
    seen = observation(waits, [ADMIT + q for q in waits])
    assert rule(name).predict(seen)[0] == ADMIT + expected


def test_furthest_behind_follows_the_rates() -> None:
    waits = {CHILD_ROUTINE: 9.0, ADULT_ROUTINE: 9.0, ELDERLY_ROUTINE: 9.0, ELDERLY_CRITICAL: 2.0}
    valid = [ADMIT + q for q in waits]
    for g, queue in enumerate((CHILD_ROUTINE, ADULT_ROUTINE, ELDERLY_ROUTINE, ELDERLY_CRITICAL)):
        rates = np.full(4, 0.85)
        rates[g] = 0.80
        assert rule("furthest-behind").predict(observation(waits, valid, rates=rates))[0] == ADMIT + queue
    # With weight 15, c-mu x exp(15 x shortfall): the elderly routine class needs log(index ratio) / 15 more shortfall.
    index = np.log(c_mu_index(URBAN))
    needed = (index[ADULT_ROUTINE] - index[ELDERLY_ROUTINE]) / 15
    for shortfall, queue in ((0.9 * needed, ADULT_ROUTINE), (1.1 * needed, ELDERLY_ROUTINE)):
        two = {ADULT_ROUTINE: 9.0, ELDERLY_ROUTINE: 9.0}
        seen = observation(two, [ADMIT + q for q in two], rates=[0.85, 0.85, 0.85 - shortfall, 0.85])
        assert rule("furthest-behind-15").predict(seen)[0] == ADMIT + queue


def test_c_mu_index_by_hand() -> None:
    """Adult urgent: 2 x (1/24 + 1/144) / (24 x 5.07); elderly critical: 4 x (1/9.6 + 1/76.8) / (24 x 4.56)."""
    index = c_mu_index(URBAN)
    assert index[ADULT_URGENT] == pytest.approx(2 * (1 / 24 + 1 / 144) / (24 * 5.07))
    assert index[ELDERLY_CRITICAL] == pytest.approx(4 * (1 / 9.6 + 1 / 76.8) / (24 * 4.56))


def test_alternative_beds() -> None:
    alternative = [ALTERNATIVE + ADULT_ROUTINE]
    for free, reserve, wait, after, taken in (
        ((0, 0, 3), 2, 1.0, 0.0, True),
        ((0, 0, 2), 2, 1.0, 0.0, False),  # not more than the reserve is free
        ((0, 0, 9), 2, 4.9, 5.0, False),  # has not waited long enough
        ((0, 0, 9), 2, 5.1, 5.0, True),
    ):
        policy = rule("triage", reserve=reserve, adult_after=after)
        action = policy.predict(observation({ADULT_ROUTINE: wait}, alternative, free))[0]
        assert action == (alternative[0] if taken else WAIT)
    # Children and critical patients do not heed the reserve.
    for queue in (CHILD_ROUTINE, ADULT_CRITICAL):
        seen = observation({queue: 1.0}, [ALTERNATIVE + queue], (1, 1, 1))
        assert rule("triage", reserve=5).predict(seen)[0] == ALTERNATIVE + queue


def test_escalation_order_and_thresholds() -> None:
    waits = {ADULT_ROUTINE: 9.0, ADULT_CRITICAL: 0.5, ELDERLY_CRITICAL: 2.0}
    transfers = [TRANSFER + q for q in waits]
    valid = [OVERTIME, SURGE_BLOCK, SURGE_BLOCK + 2, *transfers]
    policy = rule("triage", overtime=6, block=(3, 3, 3), transfer=3)
    assert policy.predict(observation(waits, valid, count=2))[0] == OVERTIME  # 6 wait
    assert policy.predict(observation(waits, valid[1:], count=2))[0] == SURGE_BLOCK + 2  # 4 want critical beds
    assert policy.predict(observation(waits, valid[1:], count=1))[0] == TRANSFER + ELDERLY_CRITICAL  # 0.5 h is no delay yet
    assert policy.predict(observation(waits, [SURGE_BLOCK, *transfers], count=3))[0] == SURGE_BLOCK
    assert rule("triage", overtime=9, block=(9, 9, 9), transfer=9).predict(observation(waits, valid, count=2))[0] == WAIT


def test_batches_and_bad_observations() -> None:
    seen = observation({ADULT_ROUTINE: 9.0}, [ADMIT + ADULT_ROUTINE])
    policy = rule("triage")
    actions, state = policy.predict(np.stack([seen, seen]), state="kept")
    assert actions.tolist() == [ADMIT + ADULT_ROUTINE] * 2 and state == "kept"
    assert np.shape(policy.predict(seen)[0]) == ()
    with pytest.raises(ValueError, match=rf"observation: got shape \(5,\), expected \(n, {LAYOUT.size}\)"):
        policy.predict(np.zeros(5))
    seen[3] = np.nan
    with pytest.raises(ValueError, match="observation: got NaN in row 1"):
        policy.predict(np.stack([np.zeros_like(seen), seen]))


def test_unknown_rules_are_named() -> None:
    with pytest.raises(ValueError, match=r"heuristic: got 'luck', expected one of .*'triage'"):
        make_heuristic("luck", HospitalEnv())
    with pytest.raises(ValueError, match="no tuned thresholds for 'Mine'"):
        make_heuristic("triage-tuned", HospitalEnv(replace(URBAN, name="Mine")))
    for other in (gym.make("CartPole-v1"), "CartPole-v1"):
        with pytest.raises(ValueError, match=r"env: got .*CartPole-v1.*, expected a hospital environment"):
            make_heuristic("triage", other)
    assert make_heuristic("triage", gym.make("Hospital-Urban-v0")).layout.n_groups == 4


@pytest.mark.parametrize("name", sorted(HEURISTICS))
def test_every_rule_chooses_valid_actions_only(name: str) -> None:
    env = HospitalEnv(replace(URBAN, horizon_hours=240.0), group_by=("age_band", "severity"))
    policy = HEURISTICS[name](env)
    seen, _ = env.reset(seed=1)
    while True:
        seen, _, _, truncated, info = env.step(int(policy.predict(seen)[0]))
        assert not info["invalid_action"]
        if truncated:
            break


def test_a_rule_of_ones_own_is_a_function_of_the_situation() -> None:
    """Children first: the index sees hours, rates and their mean, and the highest class goes first."""
    seen: list[Situation] = []

    def children_first(situation: Situation) -> npt.NDArray[np.float64]:
        seen.append(situation)
        return np.broadcast_to(np.repeat([2.0, 1.0, 0.0], 3), situation.wait.shape)

    waits = {CHILD_ROUTINE: 3.0, ADULT_CRITICAL: 20.0}
    rates = [0.9, 0.8, 0.7, 0.6]
    policy = HeuristicPolicy(URBAN, children_first)
    assert policy.predict(observation(waits, [ADMIT + q for q in waits], rates=rates))[0] == ADMIT + CHILD_ROUTINE
    np.testing.assert_allclose(seen[0].wait[0, [CHILD_ROUTINE, ADULT_CRITICAL, ADULT_ROUTINE]], [3.0, 20.0, 0.0], rtol=1e-5)
    np.testing.assert_allclose(
        seen[0].rate[0, [CHILD_ROUTINE, ADULT_ROUTINE, ELDERLY_ROUTINE, ADULT_CRITICAL]], rates, rtol=1e-5
    )
    assert seen[0].mean_rate == pytest.approx(0.75)
