"""Advantages among the answers to a case, and weights of cases: hand-computed numbers, closed forms and invariants."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_grpo.fair_grpo import (
    corrected_weights,
    group_relative_advantages,
    initial_history,
    published_advantages,
    update_history,
)
from sb3_grpo.fair_grpo.case_weights import (
    capped_to_mean_one,
    corrected_cell_weights,
    published_weights,
    resampling_weights,
)
from sb3_grpo.fair_grpo.weightings import Cases, GroupDRO, Resampling, make_weighting

# -- Advantages ----------------------------------------------------------------------------------------------------------


def test_advantages_by_hand() -> None:
    rewards = np.array([[1.0, 0.0, 0.0, 1.0], [4.0, 0.0, 2.0, 2.0]])
    deviations = [[math.sqrt(1 / 3)], [math.sqrt(8 / 3)]]  # with R - 1 = 3 in the denominator
    centred = np.array([[0.5, -0.5, -0.5, 0.5], [2.0, -2.0, 0.0, 0.0]])
    np.testing.assert_allclose(group_relative_advantages(rewards), centred / (np.array(deviations) + 1e-6), rtol=1e-12)
    np.testing.assert_allclose(group_relative_advantages(rewards, "dr_grpo"), centred, rtol=1e-12)
    # 4 against the mean of 0, 2, 2, and so on
    others = [[1 - 1 / 3, -2 / 3, -2 / 3, 1 - 1 / 3], [4 - 4 / 3, -8 / 3, 0, 0]]
    np.testing.assert_allclose(group_relative_advantages(rewards, "rloo"), others, atol=1e-12)


@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo", "rloo"])
@pytest.mark.parametrize("answers", [2, 3, 7, 10])
def test_answers_that_earned_the_same_have_no_advantage_at_all(advantage: str, answers: int) -> None:
    rewards = np.full((3, answers), 0.1)
    rewards[1] = 1e6 * (1 + 1e-9 * np.arange(answers))  # the same up to rounding
    rewards[2, 0] = 0.2
    advantages = group_relative_advantages(rewards, advantage)
    assert (advantages[:2] == 0.0).all()
    assert advantages[2, 0] > 0


@given(
    rewards=st.lists(st.lists(st.integers(-5, 5), min_size=4, max_size=4), min_size=1, max_size=5),
    shift=st.floats(-10, 10),
    advantage=st.sampled_from(["grpo", "dr_grpo", "rloo"]),
)
def test_advantages_sum_to_zero_and_do_not_depend_on_an_offset(rewards: list[list[int]], shift: float, advantage: str) -> None:
    array = np.array(rewards, dtype=np.float64)
    advantages = group_relative_advantages(array, advantage)
    np.testing.assert_allclose(advantages.sum(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(group_relative_advantages(array + shift, advantage), advantages, atol=1e-6)


def test_tensors_come_back_as_tensors() -> None:
    rewards = th.tensor([[1.0, 0.0, 0.5]], dtype=th.float64, requires_grad=True)
    advantages = group_relative_advantages(rewards)
    assert advantages.dtype == th.float64 and not advantages.requires_grad
    np.testing.assert_allclose(advantages.numpy(), group_relative_advantages(rewards.detach().numpy()))
    assert group_relative_advantages(th.tensor([[1, 0]])).dtype == th.float32


@pytest.mark.parametrize(
    ("rewards", "advantage", "message"),
    [
        (np.zeros((2, 1)), "grpo", r"two answers to each, got \(2, 1\)"),
        (np.zeros(4), "grpo", r"shape \(cases, answers\)"),
        (np.array([[0.0, 1.0], [0.0, np.nan]]), "grpo", "got nan for answer 1 to case 1"),
        (np.zeros((2, 2)), "gae", "must be one of .*'rloo'.*, got 'gae'"),
    ],
)
def test_what_advantages_refuse(rewards: np.ndarray, advantage: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_relative_advantages(rewards, advantage)


# -- History -------------------------------------------------------------------------------------------------------------


def test_history_forgets_and_grows() -> None:
    first = update_history(initial_history(), np.array([[1.0, 0.0], [1.0, 1.0]]), [0, -1], smoothing=0.25)
    assert first["cases"].tolist() == [[1.0, 1.0]]
    second = update_history(first, np.array([[0.0, 0.0]]), [2], [1], smoothing=0.25)
    assert second["cases"].tolist() == [[0.75, 0.0, 0.0, 0.75], [0.0, 0.0, 1.0, 0.0]]
    assert second["rewards"].tolist() == [[0.375, 0.0, 0.0, 0.75], [0.0, 0.0, 0.0, 0.0]]
    assert second["moments"].tolist() == [0.75 * 4 + 2, 0.75 * 3, 0.75 * 3]
    assert second["extremes"].tolist() == [0.0, 1.0]
    assert first["cases"].tolist() == [[1.0, 1.0]]  # not changed


@pytest.mark.parametrize(
    ("groups", "message"),
    [([0.5, 1], "`groups` must hold an integer"), ([0], "each of the 2 cases"), ([0, -2], "at least -1")],
)
def test_what_history_refuses(groups: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        update_history(initial_history(), np.zeros((2, 2)), groups)


# -- The published weighting ---------------------------------------------------------------------------------------------


def published_by_hand(batches: list[tuple[list[str], list[str], np.ndarray]]) -> np.ndarray:
    """The published procedure, step by step, on dictionaries: advantages of the last batch."""
    seen: dict[str, dict[str, list[np.ndarray]]] = {}
    for sources, groups, rewards in batches:
        for source, group, row in zip(sources, groups, rewards, strict=True):
            seen.setdefault(source, {}).setdefault(group, []).append(row)
    scores = []
    for source, group, row in zip(*batches[-1], strict=True):
        standardised = (row - row.mean()) / (row.std(ddof=1) + 1e-6)
        in_source = [vector for vectors in seen[source].values() for vector in vectors]
        in_group = seen[source][group]
        of_source = max(math.sqrt(len(in_source)) * float(np.mean(in_source)), 1e-6)
        factor = of_source * math.sqrt(len(in_group)) * float(np.mean(in_group))
        scores.append([score / factor if factor != 0 else score for score in standardised])
    array = np.array(scores)
    return array / (array.std(ddof=1) + 1e-6)


@pytest.mark.parametrize("offset", [0.0, 0.5, -0.45])
def test_published_weighting_to_the_letter(offset: float) -> None:
    rng = np.random.default_rng(0)
    names, batches = "abc", []
    history = initial_history()
    for _ in range(3):
        sources, groups = rng.integers(0, 2, 12), rng.integers(0, 3, 12)
        rewards = (rng.random((12, 5)) < 0.4) + offset
        batches.append(([names[s] for s in sources], [names[g] for g in groups], rewards))
        history = update_history(history, rewards, groups, sources, smoothing=0.0)
    np.testing.assert_allclose(published_advantages(history, rewards, groups, sources), published_by_hand(batches), rtol=1e-9)


def test_published_weighting_in_plain_numbers() -> None:
    """One source, 4 cases: three of group 0, mean reward 2/3, one of group 1, mean reward 1/2."""
    rewards = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    groups = np.array([0, 0, 0, 1])
    history = update_history(initial_history(), rewards, groups, smoothing=0.0)
    # T_d = sqrt(4) * 5/8 = 1.25; factors 1.25 * sqrt(3) * 2/3 = 1.4434 and 1.25 * 1 * 1/2 = 0.625
    s = 0.5 / (math.sqrt(0.5) + 1e-6)
    scaled = np.array([[0, 0], [s, -s], [-s, s], [s, -s]]) / np.array([[1.4433757], [1.4433757], [1.4433757], [0.625]])
    deviation = math.sqrt((4 * (s / 1.4433757) ** 2 + 2 * (s / 0.625) ** 2) / 7)
    np.testing.assert_allclose(published_advantages(history, rewards, groups), scaled / (deviation + 1e-6), rtol=1e-6)


def test_published_weighting_turns_the_sign_of_a_group_with_negative_mean_reward() -> None:
    """Defect: in group 1 the better answer gets the lower advantage."""
    rewards = np.array([[3.0, 1.0], [-1.0, -3.0]])
    groups = np.array([0, 1])
    history = update_history(initial_history(), rewards + 0.5, groups, smoothing=0.0)  # the source's mean is positive
    advantages = published_advantages(history, rewards + 0.5, groups)
    assert advantages[0, 0] > 0 > advantages[0, 1]
    assert advantages[1, 0] < 0 < advantages[1, 1]
    corrected = corrected_weights(history, groups)
    assert (corrected > 0).all()


def test_published_weighting_depends_on_an_offset_that_means_nothing() -> None:
    """Defect: how much the hard group counts, relative to the easy one, is whatever the offset makes it."""
    rewards = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    groups = np.array([0, 1])

    def ratio(offset: float, weights: Callable[..., np.ndarray]) -> float:
        history = update_history(initial_history(), rewards + offset, groups, smoothing=0.0)
        arguments = (group_relative_advantages(rewards), groups) if weights is published_weights else (groups,)
        easy, hard = weights(history, *arguments)
        return float(hard / easy)

    published = [ratio(offset, published_weights) for offset in (0.0, 1.0, 10.0)]
    np.testing.assert_allclose(published, [0.75 / 0.25, 1.75 / 1.25, 10.75 / 10.25], rtol=1e-9)
    corrected = [ratio(offset, corrected_weights) for offset in (0.0, 1.0, 10.0)]
    np.testing.assert_allclose(corrected, corrected[0], rtol=1e-9)


def test_published_weighting_gives_everything_to_a_source_without_positive_mean() -> None:
    """Defect: its factor is 1e-6 where that of the other source is of order 1."""
    rewards = np.array([[1.0, 0.0], [0.2, -0.4]])
    groups, sources = np.array([0, 0]), np.array([0, 1])
    history = update_history(initial_history(), rewards, groups, sources, smoothing=0.0)
    first, second = np.abs(published_weights(history, group_relative_advantages(rewards), groups, sources))
    assert second / first > 1e5


def test_published_weighting_leaves_a_mean_of_zero_alone() -> None:
    rewards = np.array([[1.0, -1.0], [1.0, 0.5]])
    groups = np.array([0, 1])
    history = update_history(initial_history(), rewards, groups, smoothing=0.0)
    assert np.isfinite(published_advantages(history, rewards, groups)).all()


# -- The corrected weighting ---------------------------------------------------------------------------------------------


def planted(n: int = 1000, answers: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards, groups, sources. A fifth is from source 1, a tenth of each in group 1; success .8, and .2 in group 1."""
    groups = (np.arange(n) % 10 == 0).astype(np.int64)
    sources = (np.arange(n) % 50 < 10).astype(np.int64)
    right = np.where(groups == 1, 2, 8)
    return (np.arange(answers) < right[:, None]).astype(np.float64), groups, sources


def test_weights_of_a_planted_rare_hard_group_in_closed_form() -> None:
    rewards, groups, sources = planted()
    history = update_history(initial_history(), rewards, groups, sources)
    weights = corrected_weights(history, groups, sources, shrinkage=0.0)
    # Within each source: p = .9 and .1, y = .8 and .2; both sources are equally hard
    within = {0: 1 / (math.sqrt(0.9) * 0.8), 1: 1 / (math.sqrt(0.1) * 0.2)}
    mean_within = 0.9 * within[0] + 0.1 * within[1]
    among = {0: 1 / math.sqrt(0.8), 1: 1 / math.sqrt(0.2)}
    mean_among = 0.8 * among[0] + 0.2 * among[1]
    for source in (0, 1):
        for group in (0, 1):
            cell = (sources == source) & (groups == group)
            expected = among[source] / mean_among * within[group] / mean_within
            np.testing.assert_allclose(weights[cell], expected, rtol=1e-9)
    assert weights.mean() == pytest.approx(1.0)


def test_shrinkage_draws_a_rare_group_to_its_source_and_the_floor_bounds_it() -> None:
    rewards = np.zeros((101, 4))
    rewards[:100, :2] = 1.0  # 100 cases succeed every other time, one never
    groups = np.append(np.zeros(100, dtype=np.int64), 1)
    history = update_history(initial_history(), rewards, groups)
    mean = 50 / 101  # of the source, who is everybody
    success = {0: (50 + 20 * mean) / 120, 1: (0 + 20 * mean) / 21}
    weights = corrected_cell_weights(history, representation=0.0)[0]
    assert weights[1] / weights[0] == pytest.approx(success[0] / success[1])
    unshrunken = corrected_cell_weights(history, representation=0.0, shrinkage=0.0)[0]
    assert unshrunken[1] / unshrunken[0] == pytest.approx(0.5 / 0.1)  # the least success rate is 0.1


def test_complete_balance_gives_sources_and_their_groups_the_same_total() -> None:
    rng = np.random.default_rng(0)
    sources = rng.choice(3, 5000, p=[0.7, 0.2, 0.1])
    groups = np.where(sources == 0, rng.choice(4, 5000, p=[0.4, 0.3, 0.2, 0.1]), rng.choice(2, 5000, p=[0.8, 0.2]))
    rewards = (rng.random((5000, 4)) < 0.5).astype(np.float64)
    history = update_history(initial_history(), rewards, groups, sources)
    weights = corrected_weights(history, groups, sources, representation=1.0, difficulty=0.0, max_weight=1e6)
    of_source = np.bincount(sources, weights)
    np.testing.assert_allclose(of_source, 5000 / 3)
    for source, n_groups in ((0, 4), (1, 2)):
        inside = sources == source
        np.testing.assert_allclose(np.bincount(groups[inside], weights[inside]), 5000 / 3 / n_groups)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shift=st.floats(-100, 100),
    scale=st.floats(0.01, 100),
    representation=st.floats(0, 2),
    difficulty=st.floats(0, 2),
    max_weight=st.floats(1, 20),
)
def test_corrected_weights_are_positive_capped_and_blind_to_offset_and_unit(
    seed: int, shift: float, scale: float, representation: float, difficulty: float, max_weight: float
) -> None:
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=(40, 4))
    groups, sources = rng.integers(-1, 4, 40), rng.integers(0, 3, 40)
    options = dict(representation=representation, difficulty=difficulty, max_weight=max_weight)

    def weights(values: np.ndarray) -> np.ndarray:
        return corrected_weights(update_history(initial_history(), values, groups, sources), groups, sources, **options)

    plain = weights(rewards)
    assert (plain > 0).all() and plain.max() <= max_weight * (1 + 1e-9)
    assert plain.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(weights(scale * rewards + shift), plain, rtol=1e-6)


def test_equal_rewards_leave_representation_only() -> None:
    groups = np.array([0, 0, 0, 1])
    history = update_history(initial_history(), np.full((4, 2), 0.3), groups)
    assert corrected_cell_weights(history)[0, 1] / corrected_cell_weights(history)[0, 0] == pytest.approx(math.sqrt(3))


def test_weights_need_somebody_to_weight_by() -> None:
    with pytest.raises(ValueError, match="Neither `groups` nor `sources`"):
        corrected_weights(initial_history())


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30), st.floats(1, 50))
def test_capping_keeps_the_order_and_the_mean(values: list[float], cap: float) -> None:
    weights = np.array(values)
    capped = capped_to_mean_one(weights, cap)
    assert capped.mean() == pytest.approx(1.0)
    assert capped.max() <= cap * (1 + 1e-9)
    free = capped < cap * (1 - 1e-9)  # all that are not at the cap keep their proportions
    if free.any():
        np.testing.assert_allclose(capped[free] / capped[free][0], weights[free] / weights[free][0], rtol=1e-6)


# -- The other weightings ------------------------------------------------------------------------------------------------


def cases_of(groups: np.ndarray, rewards: np.ndarray) -> Cases:
    return Cases(rewards, group_relative_advantages(rewards), groups, np.zeros(len(groups), dtype=np.int64))


def test_group_dro_reaches_the_softmax_of_the_needs() -> None:
    rewards, groups, _ = planted()
    history = update_history(initial_history(), rewards, groups)
    weighting = make_weighting("group_dro", {"shrinkage": 0.0, "objective_kwargs": {"eta": 1.0, "floor": 0.0}})
    state: dict[str, np.ndarray] = {}
    for _ in range(300):
        weights, state = weighting(cases_of(groups, rewards), history, state)
    deviation = math.sqrt(0.74 * 0.26)  # mean reward .9 * .8 + .1 * .2
    adversary = np.exp(-np.array([0.8, 0.2]) / deviation)
    relative = adversary / adversary.sum() / np.array([0.9, 0.1])
    np.testing.assert_allclose([weights[1], weights[0]], relative, rtol=1e-6)  # case 0 is of group 1
    assert weights.mean() == pytest.approx(1.0)


def test_group_dro_without_any_group_weights_nothing() -> None:
    rewards = np.array([[1.0, 0.0], [0.0, 0.0]])
    groups = np.array([-1, -1])
    weights, _ = GroupDRO()(cases_of(groups, rewards), update_history(initial_history(), rewards, groups), {})
    assert weights.tolist() == [1.0, 1.0]


def test_resampling_draws_every_group_as_often() -> None:
    """Of 20,000 draws a half is of each group: 4 standard deviations are 283."""
    groups = (np.arange(20_000) % 10 == 0).astype(np.int64)
    counts = resampling_weights(groups, np.random.default_rng(0))
    assert counts.sum() == 20_000 and (counts == counts.round()).all()
    assert abs(counts[groups == 1].sum() - 10_000) < 283
    rewards = np.zeros((20_000, 2))
    history = update_history(initial_history(), rewards, groups)
    first, state = Resampling()(cases_of(groups, rewards), history, {})
    second, state = Resampling()(cases_of(groups, rewards), history, state)
    assert int(state["rollouts"]) == 2 and (first != second).any()


@pytest.mark.parametrize(
    ("weighting", "kwargs", "message"),
    [
        ("fair", None, "must be one of .*'corrected'.*got 'fair'"),
        ("corrected", {"floor": 0.0}, r"`floor` of weighting 'corrected' must be a finite number, in \(0, 1\], got 0.0"),
        ("corrected", {"max_weight": 0.5}, "at least 1, got 0.5"),
        ("corrected", {"reward_range": (1.0, 0.0)}, "two increasing numbers"),
        ("corrected", {"power": 2}, "do not fit weighting 'corrected'"),
        ("group_dro", {"objective": "gap"}, "must be one of .*'minimax'"),
        ("group_dro", {"objective_kwargs": {"eta": -1}}, "`eta` of objective"),
        ("resampling", {"seed": -1}, "seed: got -1"),
        (lambda cases, history: 1.0, {"a": 1}, "`weighting_kwargs` must be None"),
    ],
)
def test_what_weightings_refuse(weighting: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_weighting(weighting, kwargs)


def test_a_function_must_return_one_number_for_each_case() -> None:
    rewards, groups = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([0, 1])
    history = update_history(initial_history(), rewards, groups)
    weights, _ = make_weighting(lambda cases, history: 1.0 + cases.groups)(cases_of(groups, rewards), history, {})
    assert weights.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="one finite number for each of 2 cases"):
        make_weighting(lambda cases, history: [1.0])(cases_of(groups, rewards), history, {})
