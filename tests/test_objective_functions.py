"""The mathematics of objectives: by hand, against scipy, and against finite differences of what each docstring states."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import logsumexp

from sb3_grpo.common.checks import per_group
from sb3_grpo.common.group_advantages import combination_weights, effective_sample_size
from sb3_grpo.common.group_logging import group_log
from sb3_grpo.common.group_performance import initial_performance, standard_error, update_performance
from sb3_grpo.common.objective_functions import (
    cvar_coefficients,
    gap_coefficients,
    max_loss_coefficients,
    relative_need,
    softmin_coefficients,
)
from sb3_grpo.common.objectives import Cvar, FunctionObjective, GroupFacts, Minimax, Objective, Softmin, make_objective
from sb3_grpo.common.trade_off import choose_objective

needs = st.lists(st.floats(-20, 20), min_size=1, max_size=6).map(np.array)
temperatures = st.floats(0.05, 50)
alphas = st.floats(0.01, 1)


@st.composite
def needs_and_shares(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Needs of up to 6 groups, often tied, and their shares."""
    need = draw(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0]) | st.floats(-20, 20), min_size=1, max_size=6))
    sizes = np.array(draw(st.lists(st.floats(0.01, 1), min_size=len(need), max_size=len(need))))
    return np.array(need), sizes / sizes.sum()


# -- By hand -----------------------------------------------------------------------------------------------------------


def test_softmin_by_hand() -> None:
    # e = (ln 4, 0) at temperature 1: odds 4 to 1; at temperature 2, odds 2 to 1
    need = np.array([np.log(4), 0.0])
    np.testing.assert_allclose(softmin_coefficients(need, 1.0), [0.8, 0.2])
    np.testing.assert_allclose(softmin_coefficients(need, 2.0), [2 / 3, 1 / 3])


def test_cvar_by_hand() -> None:
    need, shares = np.array([-1.0, 2.0, 0.5]), np.array([0.5, 0.1, 0.4])
    # The worst group holds 0.1: alone up to alpha = 0.1; then the third group fills up to 0.5, then the first
    np.testing.assert_allclose(cvar_coefficients(need, shares, 0.1), [0, 1, 0])
    np.testing.assert_allclose(cvar_coefficients(need, shares, 0.2), [0, 0.5, 0.5])
    np.testing.assert_allclose(cvar_coefficients(need, shares, 0.8), [0.3 / 0.8, 0.1 / 0.8, 0.4 / 0.8])
    np.testing.assert_allclose(cvar_coefficients(need, shares, 1.0), shares)


def test_cvar_shares_what_is_left_among_equals() -> None:
    need, shares = np.array([0.0, 1.0, 1.0]), np.array([0.5, 0.1, 0.4])
    np.testing.assert_allclose(cvar_coefficients(need, shares, 0.25), [0, 0.2, 0.8])


def test_gap_by_hand() -> None:
    need = np.array([np.log(4), 0.0])
    np.testing.assert_allclose(gap_coefficients(need, 1.0, level_up_only=False), [0.8 - 0.2, 0.2 - 0.8])
    np.testing.assert_allclose(gap_coefficients(need, 1.0, level_up_only=True), [0.8, 0.2])


def test_max_loss_by_hand() -> None:
    shares, steps = np.array([0.5, 0.3, 0.2]), np.array([0.25, 0.5, 0.25])
    coefficients = max_loss_coefficients(np.array([0.1, -0.2, 0.0]), shares, steps)
    np.testing.assert_allclose(coefficients, [0, 0.6, 0])
    # As in the published code: the mean over the chosen group's own samples, so each weighs 1 / (its share of the steps)
    np.testing.assert_allclose(combination_weights(coefficients, shares, lam=1.0), [0, 2, 0])
    np.testing.assert_allclose(max_loss_coefficients(np.array([np.nan, 0.3, 0.4]), shares, steps), [0, 0.6, 0])
    np.testing.assert_array_equal(max_loss_coefficients(np.full(3, np.nan), shares, np.zeros(3)), [0, 0, 0])


# -- Properties --------------------------------------------------------------------------------------------------------


def assert_lies_on_the_simplex(coefficients: np.ndarray) -> None:
    assert coefficients.sum() == pytest.approx(1.0)
    assert (coefficients >= 0).all()


@given(need=needs, temperature=temperatures)
def test_softmin_and_gap(need: np.ndarray, temperature: float) -> None:
    up = softmin_coefficients(need, temperature)
    assert_lies_on_the_simplex(up)
    both = gap_coefficients(need, temperature, level_up_only=False)
    assert both.sum() == pytest.approx(0.0, abs=1e-12)
    order = np.argsort(need)
    assert (np.diff(up[order]) >= 0).all() and (np.diff(both[order]) >= -1e-15).all()
    np.testing.assert_array_equal(gap_coefficients(need, temperature, level_up_only=True), up)
    np.testing.assert_allclose(softmin_coefficients(need + 7.0, temperature), up, rtol=1e-9, atol=1e-300)


@given(need=needs)
def test_softmin_bridges_worst_group_and_mean(need: np.ndarray) -> None:
    assert softmin_coefficients(need, 1e6) == pytest.approx(np.full(len(need), 1 / len(need)), abs=1e-4)
    worst = need == need.max()
    assume((need[~worst] < need.max() - 0.1).all())
    assert softmin_coefficients(need, 1e-3) == pytest.approx(worst / worst.sum())


@given(case=needs_and_shares(), alpha=alphas)
def test_cvar_fills_the_worst_groups_up(case: tuple[np.ndarray, np.ndarray], alpha: float) -> None:
    need, shares = case
    coefficients = cvar_coefficients(need, shares, alpha)
    assert_lies_on_the_simplex(coefficients)
    assert (coefficients <= shares / alpha * (1 + 1e-9)).all()
    order = np.argsort(need)
    assert (np.diff((coefficients / shares)[order]) >= -1e-9 / alpha).all()


@given(case=needs_and_shares(), alpha=alphas)
@settings(max_examples=40, deadline=None)
def test_cvar_is_the_optimum_of_its_linear_program(case: tuple[np.ndarray, np.ndarray], alpha: float) -> None:
    need, shares = case
    bounds = [(0.0, min(share / alpha, 1.0)) for share in shares]
    optimum = linprog(-need, A_eq=np.ones((1, len(need))), b_eq=[1.0], bounds=bounds)
    assert need @ cvar_coefficients(need, shares, alpha) == pytest.approx(optimum.x @ need, abs=1e-6)


@given(case=needs_and_shares(), alpha=alphas, temperature=temperatures, seed=st.integers(0, 1000))
def test_order_of_the_groups_does_not_matter(
    case: tuple[np.ndarray, np.ndarray], alpha: float, temperature: float, seed: int
) -> None:
    need, shares = case
    order = np.random.default_rng(seed).permutation(len(need))
    functions: list[Callable[[np.ndarray, np.ndarray], np.ndarray]] = [
        lambda e, p: softmin_coefficients(e, temperature),
        lambda e, p: gap_coefficients(e, temperature, level_up_only=False),
        lambda e, p: cvar_coefficients(e, p, alpha),
    ]
    for function in functions:
        np.testing.assert_allclose(function(need[order], shares[order]), function(need, shares)[order], atol=1e-9)


# -- Gradients of what the docstrings state ----------------------------------------------------------------------------


def soft(need: np.ndarray, temperature: float, scale: float) -> float:
    return float(-temperature * scale * (logsumexp(need / temperature) - np.log(len(need))))


def worst_share(need: np.ndarray, shares: np.ndarray, alpha: float, scale: float) -> float:
    bounds = [(0.0, share / alpha) for share in shares]
    optimum = linprog(-need, A_eq=np.ones((1, len(need))), b_eq=[1.0], bounds=bounds)
    assert optimum.fun is not None
    return scale * optimum.fun


@pytest.mark.parametrize("reference", [0.45, np.array([0.9, 0.2, 0.5, 0.35])], ids=["one reference", "baselines"])
def test_coefficients_are_gradients(reference: float | np.ndarray) -> None:
    performance, shares = np.array([0.62, 0.31, 0.48, 0.4]), np.array([0.4, 0.1, 0.2, 0.3])
    scale, temperature, alpha, step = 0.05, 1.7, 0.35, 1e-6
    stated: list[tuple[Callable[[np.ndarray], float], Callable[[np.ndarray], np.ndarray]]] = [
        (lambda e: soft(e, temperature, scale), lambda e: softmin_coefficients(e, temperature)),
        (
            lambda e: soft(e, temperature, scale) + soft(-e, temperature, scale),
            lambda e: gap_coefficients(e, temperature, level_up_only=False),
        ),
        (lambda e: worst_share(e, shares, alpha, scale), lambda e: cvar_coefficients(e, shares, alpha)),
    ]
    for value, coefficients in stated:
        differences = [
            value(relative_need(performance + shift, reference, scale))
            - value(relative_need(performance - shift, reference, scale))
            for shift in step * np.eye(4)
        ]
        found = coefficients(relative_need(performance, reference, scale))
        np.testing.assert_allclose(found, np.array(differences) / (2 * step), atol=1e-5)


# -- Baselines ---------------------------------------------------------------------------------------------------------


def settled(objective: Objective, performance: np.ndarray, reference: float | np.ndarray) -> np.ndarray:
    """Coefficients of groups of one size after 300 rollouts with this performance."""
    equal, unknown = np.full(len(performance), 1 / len(performance)), np.full(len(performance), np.nan)
    facts = GroupFacts(0.05, reference, equal, unknown, equal, unknown)
    state: dict[str, np.ndarray] = {}
    for _ in range(300):
        coefficients, state = objective(performance, state, facts)
    return coefficients


@pytest.mark.parametrize("objective", [Minimax(), Softmin(), Cvar(alpha=1 / 3)], ids=["minimax", "softmin", "cvar"])
def test_inherently_hard_group_does_not_swallow_all_weight(objective: Objective) -> None:
    """The third group fares badly under every policy; the second could do better."""
    performance, baseline = np.array([0.8, 0.6, 0.2]), np.array([0.8, 0.7, 0.2])
    without = settled(objective, performance, float(performance.mean()))
    assert without.argmax() == 2 and without[2] > 0.95
    with_baseline = settled(objective, performance, baseline)
    assert with_baseline.argmax() == 1 and with_baseline[1] > 0.95 and with_baseline[0] == pytest.approx(with_baseline[2])
    # At its baseline every group counts alike
    np.testing.assert_allclose(settled(objective, baseline, baseline), 1 / 3)


# -- What goes with the objectives -------------------------------------------------------------------------------------


def test_effective_sample_size_by_hand() -> None:
    assert effective_sample_size(np.array([90.0, 10.0]), np.array([1.0, 1.0])) == pytest.approx(100)
    # 10 units carry everything
    assert effective_sample_size(np.array([90.0, 10.0]), np.array([0.0, 7.0])) == pytest.approx(10)
    # (90 * 0.5 + 10 * 5.5)^2 / (90 * 0.25 + 10 * 30.25) = 10000 / 325
    assert effective_sample_size(np.array([90.0, 10.0]), np.array([0.5, 5.5])) == pytest.approx(10_000 / 325)
    assert effective_sample_size(np.array([5.0, 5.0]), np.array([1.0, -1.0])) == 0.0
    assert effective_sample_size(np.array([5.0, 5.0]), np.zeros(2)) == 0.0
    assert effective_sample_size(np.zeros(2), np.ones(2)) == 0.0
    # Squares of these would be too small for a number of full precision
    assert effective_sample_size(np.array([1.4e-161]), np.array([1.0])) == pytest.approx(1.4e-161, rel=1e-12, abs=0)
    assert effective_sample_size(np.array([3.0]), np.array([1e-170])) == pytest.approx(3)


@given(
    units=st.lists(st.floats(0, 1e4), min_size=1, max_size=6).map(np.array),
    data=st.data(),
)
def test_effective_sample_size_is_at_most_the_number_of_units(units: np.ndarray, data: st.DataObject) -> None:
    values = st.floats(-10, 10).filter(lambda value: value == 0 or abs(value) > 1e-3)
    weights = np.array(data.draw(st.lists(values, min_size=len(units), max_size=len(units))))
    assert 0 <= effective_sample_size(units, weights) <= units.sum() * (1 + 1e-9)


def test_standard_error_by_hand() -> None:
    state = initial_performance(2, 1)
    for benefit, exposure in (([2.0, 1.0], [4.0, 2.0]), ([6.0, 2.0], [4.0, 4.0])):
        assert np.isnan(standard_error(state)).all()  # fewer than two rollouts
        state = update_performance(
            state, np.array([[benefit]]), np.array([[exposure]]), np.array([[True]]), smoothing=0.0, shrinkage=0.0
        )
    # Ratios 8/8 and 3/6; residuals -2, 2 and 0, 0; n / (n - 1) = 2, so sqrt(2 (4 + 4)) / 8 for the first group
    np.testing.assert_allclose(standard_error(state), [0.5, 0.0], atol=1e-12)


def test_standard_error_of_a_group_never_seen_is_unknown() -> None:
    state = initial_performance(2, 1)
    for benefit in (1.0, 2.0, 4.0):
        state = update_performance(
            state, np.array([[[benefit, 0.0]]]), np.array([[[1.0, 0.0]]]), np.array([[True]]), smoothing=0.1, shrinkage=0.0
        )
    errors = standard_error(state)
    assert errors[0] > 0 and np.isnan(errors[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_standard_error_agrees_with_repetition(smoothing: float) -> None:
    """
    400 trainings of 60 rollouts whose patients share the fate of their rollout: the root mean square of the standard error is
    the deviation of the performance, within 12 % (the deviation of 400 values is known within 3.5 %; fixed seed).
    """
    rng, repetitions, rollouts = np.random.default_rng(0), 400, 60
    shared = rng.normal(0.0, 0.1, (rollouts, repetitions))
    exposure = rng.poisson(20, (rollouts, repetitions)) + 1.0
    benefit = exposure * (0.5 + shared) + np.sqrt(exposure) * rng.normal(0.0, 0.2, (rollouts, repetitions))
    # The repetitions are groups that know nothing of each other
    state = initial_performance(repetitions, 1)
    for one_benefit, one_exposure in zip(benefit, exposure, strict=True):
        state = update_performance(
            state, one_benefit[None, None], one_exposure[None, None], np.ones((1, 1), bool), smoothing, 0.0
        )
    errors = standard_error(state)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(np.std(state["value"]), rel=0.12)


def test_per_group() -> None:
    assert per_group("baseline", None, ("a", "b")) is None
    assert per_group("baseline", 1, ("a", "b")) == 1.0
    np.testing.assert_array_equal(per_group("baseline", {"b": 2, "a": 0.5}, ["a", "b"]), [0.5, 2.0])
    for value in (float("nan"), True, "0.5", [0.5, 2.0], {"a": None, "b": 1.0}, {"a": float("inf"), "b": 1.0}):
        with pytest.raises(ValueError, match=r"`baseline` must be a finite number, or a dict with one for each group, got "):
            per_group("baseline", value, ("a", "b"))
    for mapping in ({"a": 1.0}, {"a": 1.0, "c": 2.0}, {"a": 1.0, "b": 1.0, "c": 2.0}, {}):
        with pytest.raises(ValueError, match=r"`baseline` must hold a number for each of the groups \('a', 'b'\), got "):
            per_group("baseline", mapping, ("a", "b"))
    with pytest.raises(ValueError, match=r"`baseline` is \{'a': 1.0\}, but nobody names the groups"):
        per_group("baseline", {"a": 1.0}, None)


def test_choose_objective_names_what_does_not_fit() -> None:
    defaults = dict(
        lam=0.3, min_benefit=None, max_gap=None, objective="minimax", objective_kwargs=None, max_weight=10.0, names=None
    )

    def choose(**kwargs: object) -> Objective:
        return choose_objective(**{**defaults, **kwargs})  # type: ignore[arg-type]

    for kwargs in (dict(min_benefit=0.5), dict(max_gap=0.1), dict(min_benefit={"a": 0.1}, names=("a",))):
        with pytest.raises(ValueError, match=r"`min_benefit` and `max_gap` are targets of lam='auto', got .* with lam=0.3"):
            choose(**kwargs)
    with pytest.raises(ValueError, match=r"lam='auto' needs a target"):
        choose(lam="auto")
    with pytest.raises(ValueError, match=r"`objective` must be left alone with lam='auto'.*, got 'cvar'"):
        choose(lam="auto", min_benefit=0.5, objective="cvar")
    with pytest.raises(ValueError, match=r"`min_benefit` is \{'a': 0.1\}, but nobody names the groups"):
        choose(lam="auto", min_benefit={"a": 0.1})
    with pytest.raises(ValueError, match=r"`max_weight` must be at least 1 / alpha .*, got 10.0 and alpha=0.05"):
        choose(objective="cvar", objective_kwargs=dict(alpha=0.05))
    assert choose(objective="cvar", objective_kwargs=dict(alpha=0.1)) == Cvar(alpha=0.1)
    for lam in (1.0, "lin_1.0"):
        with pytest.warns(UserWarning, match=r"Objective 'gap' with level_up_only=False at lam=1"):
            choose(lam=lam, objective="gap", objective_kwargs=dict(level_up_only=False))
    choose(lam=0.99, objective="gap", objective_kwargs=dict(level_up_only=False))
    choose(lam=1.0, objective="gap")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("softmin", {"temperature": 0.0}),
        ("softmin", {"temperature": float("inf")}),
        ("softmin", {"floor": -0.1}),
        ("cvar", {"alpha": 0.0}),
        ("cvar", {"alpha": 1.1}),
        ("cvar", {"floor": True}),
        ("gap", {"temperature": "1"}),
        ("gap", {"level_up_only": 1}),
    ],
)
def test_parameters_out_of_range(name: str, parameters: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"`{next(iter(parameters))}` of objective '{name}' must be .*, got "):
        make_objective(name, parameters)


def test_parameters_need_a_name() -> None:
    with pytest.raises(ValueError, match=r"`objective_kwargs` must be None where `objective` is no name, got "):
        make_objective(lambda z: z, {"alpha": 0.1})
    with pytest.raises(ValueError, match=r"`objective_kwargs` .* do not fit objective 'max_loss'"):
        make_objective("max_loss", {"alpha": 0.1})


def answered(answer: object, performance: np.ndarray) -> object:
    return answer


def test_a_function_that_answers_wrongly() -> None:
    performance, unknown = np.array([0.5, np.nan, 0.1]), np.full(3, np.nan)
    facts = GroupFacts(0.05, 0.3, np.full(3, 1 / 3), unknown, np.full(3, 1 / 3), unknown)
    for answer in ([0.5, 0.5], [0.5, np.nan, 0.5], "no", None, [[0.0]] * 3):
        with pytest.raises(
            ValueError, match=r"`objective` returned .* must return one finite number for each of the 3 groups"
        ):
            FunctionObjective(partial(answered, answer))(performance, {}, facts)
    # A group without data is shown with the reference performance, and does not count
    coefficients, state = make_objective(lambda z: z)(performance, {}, facts)
    np.testing.assert_array_equal(coefficients, [0.5, 0.0, 0.1])
    assert state == {}
    np.testing.assert_array_equal(make_objective(lambda z: 1 / 0)(unknown, {}, facts)[0], facts.shares)


def test_levelling_best_is_held_against_the_reference() -> None:
    state = update_performance(
        initial_performance(2, 1), np.array([[[3.0, 1.0]]]), np.array([[[4.0, 4.0]]]), np.array([[True]]), 1.0, 0.0
    )
    log = group_log(state, np.ones(2), 0.3, best_reference=0.9, names=("a", "b"))
    assert log["group/levelling_best"] == pytest.approx(0.75 - 0.9)
    assert log["group/worst"] == 0.25 and log["group/gap"] == 0.5
    assert log["group/ess"] == 2.0  # two units, of one step each
