import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_grpo.common.objective_functions import adversary_step, raise_to_floor, relative_need
from sb3_grpo.common.objectives import GroupFacts, Minimax, make_objective

performances = st.lists(st.floats(-100, 100), min_size=1, max_size=6).map(np.array)


def facts(n_groups: int, scale: float = 1.0, reference: Any = 0.0, **kwargs: Any) -> GroupFacts:
    equal, unknown = np.full(n_groups, 1.0 / n_groups), np.full(n_groups, np.nan)
    defaults = {"shares": equal, "standard_error": unknown, "step_shares": equal, "mean_advantages": unknown}
    return GroupFacts(scale=scale, reference=reference, **{**defaults, **kwargs})


def run(objective: Minimax, performance: np.ndarray, updates: int, scale: float, reference: float) -> np.ndarray:
    state: dict[str, np.ndarray] = {}
    for _ in range(updates):
        weights, state = objective(performance, state, facts(len(performance), scale, reference))
    return weights


def test_relative_need_by_hand() -> None:
    need = relative_need(np.array([0.4, 0.6, 0.5, -5.0, np.nan]), reference=0.5, scale=0.05, bound=3.0)
    np.testing.assert_allclose(need, [2.0, -2.0, 0.0, 3.0, 0.0], atol=1e-12)
    np.testing.assert_array_equal(relative_need(np.array([0.4, 0.6]), 0.5, float("nan")), [0.0, 0.0])


def test_adversary_step_by_hand() -> None:
    # log q = a (log 1/2 + eta e) + (1 - a) log q: from q = (1/2, 1/2), the odds become exp(a eta (e_0 - e_1))
    weights = np.exp(adversary_step(np.log([0.5, 0.5]), np.array([1.0, 0.0]), eta=2.0, forgetting=0.25))
    np.testing.assert_allclose(weights[0] / weights[1], np.exp(0.5))
    np.testing.assert_allclose(weights.sum(), 1.0)


def test_adversary_converges_to_the_softmax_of_need() -> None:
    weights = run(Minimax(eta=3.0, forgetting=0.2, floor=0.0), np.array([0.2, 0.5, 0.8]), 200, scale=1.0, reference=0.5)
    expected = np.exp(3.0 * np.array([0.3, 0.0, -0.3]))
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-9)


def test_floor_by_hand() -> None:
    np.testing.assert_allclose(raise_to_floor(np.array([0.7, 0.29, 0.01]), 0.1), [0.9 * 0.7 / 0.99, 0.9 * 0.29 / 0.99, 0.1])
    # 0.105 stays above the floor only until the smallest weight is raised
    np.testing.assert_allclose(raise_to_floor(np.array([0.89, 0.105, 0.005]), 0.1), [0.8, 0.1, 0.1])
    np.testing.assert_allclose(raise_to_floor(np.array([0.4, 0.6]), 0.5), [0.5, 0.5])


@given(performance=performances, floor=st.floats(0, 1), updates=st.integers(1, 30))
def test_minimax_weights_lie_on_the_simplex_above_the_floor(performance: np.ndarray, floor: float, updates: int) -> None:
    weights = run(Minimax(floor=floor), performance, updates, scale=1.0, reference=float(performance.mean()))
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= floor / len(performance) - 1e-12).all()


@given(performance=performances, scale=st.floats(0.01, 10))
def test_worse_groups_never_weigh_less(performance: np.ndarray, scale: float) -> None:
    weights = run(Minimax(), performance, 3, scale=scale, reference=float(performance.mean()))
    order = np.argsort(performance)
    assert (np.diff(weights[order]) <= 1e-12).all()


@given(performance=performances, shift=st.floats(-10, 10), factor=st.floats(0.1, 10))
@settings(max_examples=50)
def test_units_of_performance_do_not_matter(performance: np.ndarray, shift: float, factor: float) -> None:
    reference = float(performance.mean())
    weights = run(Minimax(), performance, 5, scale=1.0, reference=reference)
    moved = run(Minimax(), factor * performance + shift, 5, scale=factor, reference=factor * reference + shift)
    np.testing.assert_allclose(weights, moved, rtol=1e-6)


def test_state_is_not_changed_in_place() -> None:
    _, state = Minimax()(np.array([0.0, 1.0]), {}, facts(2, 1.0, 0.5))
    before = state["log_weights"].copy()
    Minimax()(np.array([0.0, 1.0]), state, facts(2, 1.0, 0.5))
    np.testing.assert_array_equal(state["log_weights"], before)


def test_new_groups_enter_with_an_equal_share() -> None:
    _, state = Minimax(floor=0.0)(np.array([0.0, 1.0]), {}, facts(2, 1.0, 0.5))
    weights, _ = Minimax(eta=0.0, forgetting=1e-12, floor=0.0)(np.array([0, 1, 2, 3]), state, facts(4, 1.0, 0.5))
    np.testing.assert_allclose(weights, [*np.exp(state["log_weights"]) / 2, 0.25, 0.25], rtol=1e-6)


@pytest.mark.parametrize("parameters", [{"eta": -1.0}, {"forgetting": 0.0}, {"floor": 1.5}])
def test_parameters_out_of_range(parameters: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(parameters))}` of objective 'minimax' must be .*, got"):
        Minimax(**parameters)


@pytest.mark.parametrize("name", ["eta", "forgetting", "floor"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, True, [0.1]])
def test_parameters_that_are_no_finite_numbers(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` of objective 'minimax' must be .*, got {re.escape(repr(value))}"):
        make_objective("minimax", {name: value})


@pytest.mark.parametrize("objective", [["minimax"], {"minimax": {}}, None, 5])
def test_objectives_that_are_no_names(objective: Any) -> None:
    with pytest.raises(
        ValueError,
        match=rf"`objective` must be one of \[.*'minimax'.*\] or a function z -> c, got {re.escape(repr(objective))}",
    ):
        make_objective(objective)


def test_unknown_objective_or_parameter() -> None:
    with pytest.raises(ValueError, match=r"`objective` must be one of \[.*'minimax'.*\] or a function z -> c, got 'maximin'"):
        make_objective("maximin")
    with pytest.raises(ValueError, match="'alpha'"):
        make_objective("minimax", {"alpha": 0.1})


@pytest.mark.parametrize("forgetting", [0.5, 1.0])
def test_without_a_floor_a_group_can_come_back(forgetting: float) -> None:
    """The weight of the group that fares well underflows to 0."""
    objective = Minimax(eta=1000.0, forgetting=forgetting, floor=0.0)
    state: dict[str, np.ndarray] = {}
    for performance in ([0.0, 3.0], [3.0, 0.0]):
        for _ in range(20):
            weights, state = objective(np.array(performance), state, facts(2))
        np.testing.assert_array_equal(weights, np.array(performance) == 0)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("minimax", {}),
        ("softmin", {"temperature": 1.0}),
        ("cvar", {"alpha": 0.8}),
        ("gap", {"temperature": 1.0}),
        ("gap", {"temperature": 1.0, "level_up_only": False}),
    ],
)
def test_group_without_data_takes_nothing_from_the_others(name: str, kwargs: dict[str, Any]) -> None:
    """The others count as if there were nobody else; before any data nobody is left out."""
    objective, shares = make_objective(name, kwargs), np.array([0.7, 0.0, 0.3])
    three, _ = objective(np.array([0.2, np.nan, 0.4]), {}, facts(3, 1.0, 0.26, shares=shares))
    two, _ = objective(np.array([0.2, 0.4]), {}, facts(2, 1.0, 0.26, shares=shares[[0, 2]]))
    np.testing.assert_allclose(three, [two[0], 0.0, two[1]], atol=1e-12)
    nobody, _ = objective(np.full(3, np.nan), {}, facts(3, np.nan, np.nan))
    np.testing.assert_allclose(nobody, 0.0 if kwargs.get("level_up_only") is False else 1 / 3, atol=1e-12)


@pytest.mark.parametrize("name", ["minimax", "softmin", "cvar"])
def test_floor_is_for_groups_with_data(name: str) -> None:
    facts_of_three = facts(3, 0.01, 0.3, shares=np.array([0.9, 0.0, 0.1]))
    weights, _ = make_objective(name, {"floor": 0.3})(np.array([0.1, np.nan, 0.9]), {}, facts_of_three)
    assert weights[1] == 0.0 and weights[2] > 0.1 - 1e-12 and weights.sum() == pytest.approx(1.0)
