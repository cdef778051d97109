"""Targets of lam="auto": the controller by hand, and its properties."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_grpo.common.group_advantages import combination_weights
from sb3_grpo.common.group_performance import (
    PerformanceState,
    forget_unfinished,
    initial_performance,
    standard_error,
    update_performance,
)
from sb3_grpo.common.objectives import GroupFacts, ObjectiveState
from sb3_grpo.common.rate_constraints import RateConstraints, beyond_noise, controller_step, shortfalls
from sb3_grpo.common.trade_off import choose_objective

GRADIENT: dict[str, Any] = {"proportional": 0.0, "derivative": 0.0}
NAN = float("nan")

gains = st.tuples(st.floats(0, 30), st.floats(0.01, 2), st.floats(0, 100))
units = st.floats(-5, 5)


def facts(error: Any = NAN, scale: float = 1.0, shares: Any = (0.9, 0.1), present: Any = True) -> GroupFacts:
    shares = np.array(shares)
    unknown = np.full(len(shares), NAN)
    return GroupFacts(scale, 0.5, shares, unknown + np.nan_to_num(error, nan=NAN), shares, unknown, present)


def facts_of(error: Any, **kwargs: Any) -> GroupFacts:
    return facts(**kwargs)._replace(standard_error=np.array(error, dtype=float))


def follow(objective: RateConstraints, performances: Any, known: GroupFacts | None = None) -> list[ObjectiveState]:
    """States after each of a sequence of performances."""
    states: list[ObjectiveState] = [{}]
    for performance in performances:
        states.append(objective(np.array(performance), states[-1], known or facts(shares=np.full(len(performance), 0.5)))[1])
    return states[1:]


# -- Targets ---------------------------------------------------------------------------------------------------------


def test_shortfalls_by_hand() -> None:
    performance, error = np.array([0.5, 0.9, NAN]), np.array([0.03, 0.04, NAN])
    missed, same = shortfalls(performance, error, 0.6, None)
    np.testing.assert_allclose(missed, [0.1, -0.3, NAN])
    np.testing.assert_array_equal(same, error)
    missed, of_difference = shortfalls(performance, error, None, 0.3)
    np.testing.assert_allclose(missed, [0.1, -0.3, NAN])
    np.testing.assert_allclose(of_difference[0], 0.05)  # 3-4-5: of the group, and of the best
    missed, _ = shortfalls(performance, error, np.array([0.4, 1.0, 0.2]), 0.35)
    np.testing.assert_allclose(missed, [0.05, 0.1, NAN])  # the higher target of each group


def test_a_group_met_once_sets_no_standard() -> None:
    performance = np.array([0.5, 0.7, 1.0])
    missed, _ = shortfalls(performance, np.array([0.1, 0.1, NAN]), None, 0.1)
    np.testing.assert_allclose(missed, [0.1, -0.1, -0.4])
    missed, _ = shortfalls(performance, np.full(3, NAN), None, 0.1)
    np.testing.assert_allclose(missed, [0.4, 0.2, -0.1])


def test_nothing_is_missed_before_any_data() -> None:
    for min_benefit, max_gap in ((0.5, None), (None, 0.1), (0.5, 0.1)):
        unknown = np.full(2, NAN)
        assert np.isnan(shortfalls(unknown, unknown, min_benefit, max_gap)[0]).all()


def test_beyond_noise_by_hand() -> None:
    error = np.array([0.1, 0.1, 0.1, NAN])
    np.testing.assert_allclose(beyond_noise(np.array([0.3, -0.3, 0.15, 1.0]), error, 2.0), [0.1, -0.1, 0.0, 0.0])
    np.testing.assert_allclose(beyond_noise(np.array([0.3, 1.0]), np.full(2, NAN), 2.0), [0.3, 1.0])
    np.testing.assert_allclose(beyond_noise(np.array([0.3, 1.0]), np.array([0.1, NAN]), 0.0), [0.3, 1.0])


# -- Controller ------------------------------------------------------------------------------------------------------


def test_pid_by_hand() -> None:
    """mu = 2 v + I + 10 dv: 2 x .5 + (.3 + .1 x .5) + 10 x .02, and 2 x -.1 + (.3 - .1 x .1) + 0."""
    v, dv = np.array([0.5, -0.1]), np.array([0.02, 0.0])
    multipliers, integral = controller_step(v, dv, np.ones(2, dtype=bool), np.full(2, 0.3), (2.0, 0.1, 10.0), 9.0)
    np.testing.assert_allclose(integral, [0.35, 0.29])
    np.testing.assert_allclose(multipliers, [1.55, 0.09])


def test_without_p_and_d_it_is_dual_ascent() -> None:
    """mu <- max(0, mu + K v), with v in units of the scale."""
    objective = RateConstraints(min_benefit=0.5, integral=0.1, **GRADIENT)
    performances = [[0.4, 0.9], [0.45, 0.48], [0.8, 0.3], [0.9, 0.9]]
    expected, mu = [], np.zeros(2)
    for performance in performances:
        mu = np.maximum(0, mu + 0.1 * (0.5 - np.array(performance)) / 0.05)
        expected.append(mu)
    states = follow(objective, performances, facts(scale=0.05))
    np.testing.assert_allclose([state["multipliers"] for state in states], expected, atol=1e-12)
    assert expected[0][1] == 0 and expected[2][0] == 0  # the projection was at work


def test_sum_of_multipliers_is_limited() -> None:
    """max_lam 0.8 means a sum of 4; who misses more gets more."""
    states = follow(RateConstraints(min_benefit=1.0, max_lam=0.8), [[0.0, 0.5]] * 30)
    sums = [state["multipliers"].sum() for state in states]
    assert sums[0] == sums[-1] == pytest.approx(4.0)
    assert states[-1]["multipliers"][0] > states[-1]["multipliers"][1] > 0
    assert RateConstraints(min_benefit=1.0, max_lam=0.8).lam(states[-1]) == pytest.approx(0.8)


@pytest.mark.parametrize("parameters", [GRADIENT, {"proportional": 30.0}, {}], ids=["gradient", "large P", "default"])
def test_multipliers_fall_at_once_after_a_long_violation(parameters: dict[str, Any]) -> None:
    objective = RateConstraints(min_benefit=0.5, **parameters)
    states = follow(objective, [[0.0, 0.9]] * 500 + [[0.6, 0.9]] * 2)
    assert objective.lam(states[-3]) == pytest.approx(0.9)
    assert states[-2]["multipliers"][0] <= states[-3]["multipliers"][0] - objective.integral * 0.1 + 1e-12
    assert states[-3]["integral"].sum() == pytest.approx(max(9.0 - objective.proportional * 0.5, 0.0))


def test_integral_takes_only_the_room_that_is_left() -> None:
    """Limit 9, P part 6 x 1: the integral stops at 3. As the violation halves, P frees 3, which the integral may fill."""
    objective = RateConstraints(min_benefit=1.0, proportional=6.0, integral=0.5, derivative=0.0)
    states = follow(objective, [[0.0, 1.0]] * 20 + [[0.5, 1.0]] * 20)
    np.testing.assert_allclose([states[k]["integral"][0] for k in (0, 1, 19, 20, 39)], [0.5, 1.0, 3.0, 3.25, 6.0])


def test_derivative_brakes_in_both_directions() -> None:
    objective = RateConstraints(min_benefit=0.5, proportional=0.0, integral=1e-9, derivative=10.0)
    states = follow(objective, [[0.4, 0.9], [0.3, 0.9], [0.35, 0.9]])
    np.testing.assert_allclose([state["multipliers"][0] for state in states], [0.0, 1.0, 0.0], atol=1e-6)
    damped = follow(RateConstraints(min_benefit=0.5, proportional=10.0, integral=1e-9, derivative=10.0), [[0.3, 1], [0.35, 1]])
    np.testing.assert_allclose(damped[-1]["multipliers"][0], 10 * 0.15 - 10 * 0.05, atol=1e-6)


# -- Noise, absence, new groups --------------------------------------------------------------------------------------


def test_dead_band_holds_for_a_noisy_group_and_lets_go_when_it_is_certain() -> None:
    objective = RateConstraints(min_benefit=0.5)
    noisy = follow(objective, [[0.9, 0.42], [0.9, 0.58]] * 20, facts_of([0.01, 0.2]))
    assert all((state["multipliers"] == 0).all() and objective.lam(state) == 0 for state in noisy)
    _, certain = objective(np.array([0.9, 0.42]), noisy[-1], facts_of([0.01, 0.02]))
    # 0.07 beyond the band, and 0 before: all three parts see it
    gain = objective.proportional + objective.integral + objective.derivative
    assert certain["multipliers"][1] == pytest.approx(min(gain * 0.07, 9.0))
    assert certain["multipliers"][0] == 0


def test_group_without_new_data_keeps_its_multiplier() -> None:
    objective = RateConstraints(min_benefit=0.5)
    before = follow(objective, [[0.4, 0.3], [0.4, 0.35]])[-1]
    absent = facts(present=np.array([True, False]))
    state = before
    for _ in range(10):
        _, state = objective(np.array([0.4, 0.35]), state, absent)
    assert state["integral"][1] == before["integral"][1] and state["integral"][0] > before["integral"][0]
    assert state["multipliers"][1] == pytest.approx(objective.proportional * 0.15 + before["integral"][1])


def test_unknown_performance_or_scale_moves_nothing() -> None:
    objective = RateConstraints(min_benefit=0.5, max_gap=0.1)
    coefficients, state = objective(np.full(2, NAN), {}, facts())
    np.testing.assert_array_equal(coefficients, [0.9, 0.1])
    assert objective.lam(state) == 0 and objective.log(state) == {}
    coefficients, state = objective(np.array([0.1, NAN]), state, facts(scale=NAN))
    assert objective.lam(state) == 0
    assert objective.log(state) == {"group/target_missed": pytest.approx(0.4), "group/infeasible": 0}
    coefficients, state = objective(np.array([0.1, NAN]), state, facts())
    np.testing.assert_array_equal(coefficients, [1.0, 0.0])
    assert np.isfinite(state["multipliers"]).all() and np.isfinite(state["integral"]).all()


def test_groups_that_appear_later_start_at_zero() -> None:
    objective = RateConstraints(min_benefit=0.5)
    before = follow(objective, [[0.4], [0.4]])[-1]
    coefficients, after = objective(np.array([0.4, 0.3, NAN]), before, facts(shares=np.full(3, 1 / 3)))
    assert after["integral"][0] == pytest.approx(before["integral"][0] + objective.integral * 0.1)
    assert after["multipliers"][1] == pytest.approx((objective.proportional + objective.integral) * 0.2)  # nothing grew yet
    assert after["multipliers"][2] == coefficients[2] == 0
    assert coefficients.sum() == pytest.approx(1.0)


def test_state_is_not_changed_in_place() -> None:
    objective = RateConstraints(min_benefit=0.5)
    state = follow(objective, [[0.4, 0.6]])[-1]
    before = {key: value.copy() for key, value in state.items()}
    objective(np.array([0.2, 0.6]), state, facts())
    for key, value in before.items():
        np.testing.assert_array_equal(state[key], value)


def after_rollouts(*rollouts: tuple[Any, Any]) -> PerformanceState:
    """Rollouts of one step in which episodes end, without forgetting: rewards and exposure of each, (N, G)."""
    n_envs, n_groups = np.shape(rollouts[0][0])
    state = initial_performance(n_groups, n_envs)
    for benefit, exposure in rollouts:
        dones = np.ones((1, n_envs), dtype=bool)
        state = update_performance(state, np.array([benefit]), np.array([exposure]), dones, 1e-12, 0.0)
    return state


def test_standard_error_from_the_rollouts_of_the_group() -> None:
    """
    One environment. Group 0 earns 1, then 3 at exposure 2: z = 1 and residuals -1 and 1, so that n / (n - 1) = 2 gives the
    variance 2 x 2 / 4^2. Group 1 appeared in one rollout of the two: nothing is known of its noise.
    """
    state = after_rollouts(([[1.0, 5.0]], [[2.0, 1.0]]), ([[3.0, 0.0]], [[2.0, 0.0]]))
    np.testing.assert_allclose(standard_error(state), [0.5, NAN], rtol=1e-9)


def test_standard_error_from_environments_where_rollouts_are_alike() -> None:
    """
    Environments that stay as they are, 0 and 2 at exposure 1 in each of 3 rollouts: z = 1, residuals -3 and 3, variance
    2 x 18 / 6^2 = 1. The rollouts, all alike, know nothing of it.
    """
    state = after_rollouts(*[([[0.0], [2.0]], [[1.0], [1.0]])] * 3)
    np.testing.assert_allclose(standard_error(state), [1.0], rtol=1e-9)
    assert standard_error(forget_unfinished(state, np.ones(3, dtype=bool))) == pytest.approx(0.0)  # other environments


def test_standard_error_is_that_of_the_ratio() -> None:
    """
    Over 400 repetitions of 10 rollouts in 8 environments, with benefit that depends on exposure: the mean estimate within 15 %
    of the true deviation (the larger of two estimates is somewhat too large; the error of the deviation itself is 4 %).
    """
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(400):
        exposure = rng.exponential(size=(10, 8, 1))
        benefit = exposure * (0.5 + 0.5 * rng.standard_normal((10, 8, 1)))
        state = after_rollouts(*zip(benefit, exposure, strict=True))
        values.append(state["value"][0])
        errors.append(standard_error(state)[0])
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)


# -- Lagrangian ------------------------------------------------------------------------------------------------------


def test_weights_are_those_of_the_lagrangian() -> None:
    """lam = S / (1 + S) and c = mu / S make w_g = (1 + mu_g / p_g) / (1 + S), as far as the cap reaches."""
    objective, shares = RateConstraints(min_benefit=0.5), np.array([0.5, 0.3, 0.2])
    coefficients, state = objective(np.array([0.4, 0.45, 0.9]), {}, facts(shares=shares))
    mu = state["multipliers"]
    total = mu.sum()
    assert total > 0 and objective.lam(state) == pytest.approx(total / (1 + total))
    np.testing.assert_allclose(coefficients, mu / total)
    weights = combination_weights(coefficients, shares, objective.lam(state))
    np.testing.assert_allclose(weights, (1 + mu / shares) / (1 + total))
    assert shares @ weights == pytest.approx(1.0)
    capped = combination_weights(np.array([0.0, 1.0]), np.array([0.99, 0.01]), 0.5, cap=10.0)
    np.testing.assert_allclose(capped, [0.5, 0.5 + 0.5 * 10])


# -- Infeasible targets ----------------------------------------------------------------------------------------------


def warnings_of(objective: RateConstraints, states: list[ObjectiveState]) -> list[str | None]:
    return [objective.warning(before, after, ["often", "rare"]) for before, after in zip([{}, *states], states, strict=False)]


def test_infeasible_target_is_reported_once_until_it_was_met() -> None:
    objective = RateConstraints(min_benefit=0.5, patience=5)
    states = follow(objective, [[0.9, 0.0]] * 40 + [[0.9, 0.6]] * 60 + [[0.9, 0.0]] * 40, facts(scale=0.05))
    said = [(place, text) for place, text in enumerate(warnings_of(objective, states)) if text is not None]
    assert len(said) == 2 and said[0][0] < 40 and said[1][0] >= 100
    text = said[0][1]
    assert "'rare' by 0.5" in text and "'often'" not in text and "5 rollouts at the largest lam, 0.9" in text
    assert "Lower `min_benefit` or raise `max_gap`" in text
    counts = [objective.log(state)["group/infeasible"] for state in states]
    assert counts[said[0][0] - 1 : said[0][0] + 1] == [0, 1]
    assert counts[39:42] == [1, 0, 0] and counts[-1] == 1
    nearer = follow(objective, [[0.9, 0.0]] * 20 + [[0.9, 0.2]] * 20, facts(scale=0.05))  # but still far
    assert len([text for text in warnings_of(objective, nearer) if text is not None]) == 1


def test_training_that_still_comes_nearer_is_not_infeasible() -> None:
    """In the beginning everybody is below target and lam is at its largest."""
    objective = RateConstraints(min_benefit=0.5, patience=5)
    climbing = [[0.9, 0.01 * step] for step in range(-300, 40)]
    states = follow(objective, climbing, facts_of([0.005, 0.02]))
    assert objective.lam(states[200]) == pytest.approx(0.9)
    assert not any(warnings_of(objective, states))
    # Without the climb there is one
    assert any(warnings_of(objective, follow(objective, [[0.9, -3.0]] * 10, facts_of([0.005, 0.02]))))


def test_infeasible_is_the_target_that_holds_up_progress() -> None:
    """Nothing is while the furthest group comes nearer; then what stands still is, whatever happens around the others."""
    objective = RateConstraints(min_benefit=0.5, patience=5)
    known = facts_of([0.005, 0.02], scale=0.05)
    assert not any(warnings_of(objective, follow(objective, [[0.3, 0.01 * step] for step in range(-100, 20)], known)))
    states = follow(objective, [[[0.55, 0.4, 0.45][step % 3], 0.0] for step in range(30)], known)
    text = next(filter(None, warnings_of(objective, states)))
    assert "'rare' by 0.5" in text and "'often'" not in text
    assert [objective.log(state)["group/infeasible"] for state in states[-3:]] == [1, 1, 1]


def test_log() -> None:
    objective = RateConstraints(min_benefit=0.5)
    state = follow(objective, [[0.45, 0.9]])[-1]
    assert objective.log(state) == {"group/target_missed": pytest.approx(0.05), "group/infeasible": 0}
    state = follow(objective, [[0.8, 0.9]])[-1]
    assert objective.log(state)["group/target_missed"] == pytest.approx(-0.3)


# -- Parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("max_gap", -0.1, "at least 0"),
        ("max_gap", "small", "at least 0"),
        ("integral", 0, "a positive"),
        ("proportional", -1, "at least 0"),
        ("derivative", NAN, "at least 0"),
        ("dead_band", "1", "at least 0"),
        ("max_lam", 1.0, "between 0 and 1"),
        ("max_lam", True, "between 0 and 1"),
        ("patience", 0, "a whole number, at least 1"),
        ("patience", 2.5, "a whole number, at least 1"),
    ],
)
def test_parameters_out_of_range(name: str, value: Any, accepted: str) -> None:
    with pytest.raises(ValueError, match=rf"`{name}`.* must be .*{accepted}.*, got {re.escape(repr(value))}"):
        RateConstraints(**{"min_benefit": 0.5, name: value})


def test_arguments_that_do_not_go_together() -> None:
    def choose(lam: Any, min_benefit: Any = None, max_gap: Any = None, objective: Any = "minimax", kwargs: Any = None) -> Any:
        return choose_objective(lam, min_benefit, max_gap, objective, kwargs, 10.0, ("often", "rare"))

    with pytest.raises(ValueError, match="needs a target: `min_benefit`"):
        choose("auto")
    with pytest.raises(ValueError, match=r"are targets of lam='auto', got 0.2 and None with lam=0.3"):
        choose(0.3, 0.2)
    with pytest.raises(ValueError, match=r"`objective` must be left alone with lam='auto'.*got 'cvar'"):
        choose("auto", 0.2, objective="cvar")
    with pytest.raises(ValueError, match=r"'eta'.* do not fit lam='auto'"):
        choose("auto", 0.2, kwargs={"eta": 1.0})
    with pytest.raises(ValueError, match="`min_benefit` must hold a number for each of the groups"):
        choose("auto", {"often": 0.2})
    chosen = choose("auto", {"rare": 0.1, "often": 0.2}, 0.3, kwargs={"dead_band": 0.5})
    np.testing.assert_array_equal(chosen.min_benefit, [0.2, 0.1])
    assert (chosen.max_gap, chosen.dead_band) == (0.3, 0.5)


# -- Properties ------------------------------------------------------------------------------------------------------


@st.composite
def steps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Violation, growth, whether measured, integral."""
    n_groups = draw(st.integers(1, 5))
    lists = [draw(st.lists(units, min_size=n_groups, max_size=n_groups)) for _ in range(3)]
    fresh = draw(st.lists(st.booleans(), min_size=n_groups, max_size=n_groups))
    return np.array(lists[0]), np.array(lists[1]), np.array(fresh), np.abs(lists[2])


@given(step=steps(), chosen=gains, limit=st.floats(0.1, 20))
def test_multipliers_are_non_negative_and_limited(step: Any, chosen: tuple[float, float, float], limit: float) -> None:
    violation, growth, fresh, integral = step
    multipliers, integral = controller_step(violation, growth, fresh, integral, chosen, limit)
    for result in (multipliers, integral):
        assert (result >= 0).all() and result.sum() <= limit * (1 + 1e-9)


@given(step=steps(), chosen=gains, limit=st.floats(0.1, 20), more=st.floats(0, 5), data=st.data())
def test_larger_violation_never_lowers_the_multiplier(
    step: Any, chosen: tuple[float, float, float], limit: float, more: float, data: st.DataObject
) -> None:
    violation, growth, fresh, integral = step
    integral = integral * min(1.0, limit / max(integral.sum(), 1e-300))
    group = data.draw(st.integers(0, len(violation) - 1))
    before, _ = controller_step(violation, growth, fresh, integral, chosen, limit)
    violation = violation.copy()
    violation[group] += more
    after, _ = controller_step(violation, growth, fresh, integral, chosen, limit)
    assert after[group] >= before[group] - 1e-6


@given(deviation=st.lists(units, min_size=1, max_size=5).map(np.array), error=st.floats(0, 2), band=st.floats(0, 3))
def test_beyond_noise_keeps_order_and_sign(deviation: np.ndarray, error: float, band: float) -> None:
    rest = beyond_noise(deviation, np.full(len(deviation), error), band)
    assert (rest * deviation >= 0).all() and (np.abs(rest) <= np.abs(deviation) + 1e-12).all()
    order = np.argsort(deviation)
    assert (np.diff(rest[order]) >= -1e-12).all()
