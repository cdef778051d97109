"""The sepsis decision problem and its exact values: by hand, against simulation, and against known values."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hospital_gym.clinical.data_directory import MissingDataError
from hospital_gym.clinical.sepsis import mdp as mdp_module
from hospital_gym.clinical.sepsis.exact import (
    action_values,
    assess,
    best_policy,
    clinician_policy,
    deterministic_policy,
    expected_lengths,
    group_values,
    policy_values,
    uniform_policy,
)
from hospital_gym.clinical.sepsis.grouping import GROUPINGS, start_groups
from hospital_gym.clinical.sepsis.mdp import SepsisMDP, read_mdp
from hospital_gym.clinical.sepsis.modalities import COLUMNS, MODALITIES, STATIC
from tests.sepsis_problems import needs_icu_sepsis, random_problem, two_state_arrays, two_states, write_files


def test_values_of_two_states_by_hand() -> None:
    problem = two_states()
    # State 1: 0.9. State 0: 0.6, or 0.3 + 0.5 x 0.9 = 0.75
    assert policy_values(problem, deterministic_policy(problem, [0, 0, 0, 0, 0]))[:2] == pytest.approx([0.6, 0.9])
    assert policy_values(problem, deterministic_policy(problem, [1, 1, 0, 0, 0]))[:2] == pytest.approx([0.75, 0.9])
    policy = np.array([[0.2, 0.8], [0.5, 0.5], [1, 0], [1, 0], [1, 0]])
    assert policy_values(problem, policy)[:2] == pytest.approx([0.2 * 0.6 + 0.8 * 0.75, 0.9])
    assert policy_values(problem, policy)[2:].tolist() == [0.0] * 3
    assert expected_lengths(problem, policy)[:2] == pytest.approx([1.4, 1.0])
    # Discounted, the way through state 1 is worth 0.3 + 0.5 x 0.5 x 0.9
    assert policy_values(problem, deterministic_policy(problem, [1, 0, 0, 0, 0]), 0.5)[0] == pytest.approx(0.525)
    assert action_values(problem, np.array([0.7, 0.9, 0, 0, 0]), 0.5)[:2] == pytest.approx(
        np.array([[0.6, 0.525], [0.9, 0.9]])
    )
    best, values = best_policy(problem)
    assert best[0].tolist() == [0.0, 1.0] and best[1].tolist() == [1.0, 0.0] and values[:2] == pytest.approx([0.75, 0.9])
    assert best_policy(problem, worst=True)[1][:2] == pytest.approx([0.6, 0.9])
    assert best_policy(problem, 0.5)[1][0] == pytest.approx(0.6)


def test_worth_by_group_by_hand() -> None:
    problem = two_states()
    worth = assess(problem, clinician_policy(problem), start_groups(problem, "sofa"), 3)
    assert worth.value == pytest.approx(2 / 3 * 0.675 + 1 / 3 * 0.9)
    assert worth.regret == pytest.approx(2 / 3 * 0.075) and worth.length == pytest.approx(2 / 3 * 1.25 + 1 / 3)
    assert worth.group_values == pytest.approx([0.675, np.nan, 0.9], nan_ok=True)  # nobody starts in the second group
    assert worth.group_regrets == pytest.approx([0.075, np.nan, 0.0], nan_ok=True)
    with pytest.raises(ValueError, match=r"policy: got shape \(2, 2\), expected \(5, 2\)"):
        policy_values(problem, np.eye(2))


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_no_policy_is_better_than_the_best_and_values_solve_bellmans_equation(seed: int) -> None:
    problem, rng = random_problem(seed % 20), np.random.default_rng(seed)
    policy = rng.dirichlet(np.ones(problem.n_actions), problem.n_states)
    values = policy_values(problem, policy)
    assert values == pytest.approx((policy * action_values(problem, values)).sum(axis=1), abs=1e-12)
    best, optimum = best_policy(problem)
    _, worst = best_policy(problem, worst=True)
    assert (values <= optimum + 1e-12).all() and (values >= worst - 1e-12).all()
    assert optimum == pytest.approx(action_values(problem, optimum).max(axis=1), abs=1e-11)
    assert (best[~problem.admissible] == 0.0).all()
    # Inadmissible actions act as random admissible ones
    uniform = problem.admissible / problem.admissible.sum(axis=1, keepdims=True)
    assert policy_values(problem, uniform) == pytest.approx(policy_values(problem, uniform_policy(problem)), abs=1e-12)


def test_values_agree_with_simulation() -> None:
    """20 comparisons; with 4.5 standard errors the chance of one false alarm is 1.4e-4."""
    patients = 20_000
    for seed in range(10):
        problem, rng = random_problem(seed), np.random.default_rng([7, seed])
        policy = clinician_policy(problem)
        states = rng.choice(problem.n_states, patients, p=problem.first)
        survived, lengths = np.zeros(patients), np.zeros(patients)
        sums = policy.cumsum(axis=1)
        alive = np.arange(patients)
        while len(alive):
            actions = (rng.random((len(alive), 1)) > sums[states[alive]]).sum(axis=1)
            states[alive], rewards = problem.draw(states[alive], actions, rng.random(len(alive)))
            survived[alive] += rewards
            lengths[alive] += 1
            alive = alive[states[alive] < problem.n_transient]
        for simulated, exact in (
            (survived, problem.first @ policy_values(problem, policy)),
            (lengths, problem.first @ expected_lengths(problem, policy)),
        ):
            assert abs(simulated.mean() - exact) < 4.5 * simulated.std() / np.sqrt(patients)


def test_draws_follow_the_probabilities_to_their_ends() -> None:
    problem = two_states()
    zeros = np.zeros(4, dtype=np.int64)
    reached, rewards = problem.draw(zeros, zeros + 1, np.array([0.0, 0.49, 0.51, np.nextafter(1.0, 0.0)]))
    assert reached.tolist() == [1, 1, 2, 3] and rewards.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert problem.draw_first(np.array([0.0, 0.66, 0.67, np.nextafter(1.0, 0.0)])).tolist() == [0, 0, 1, 1]
    assert copy.deepcopy(problem) is problem  # environments share it, also their copies


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transitions": np.ones((5, 2, 5))}, "transitions: expected probabilities"),
        ({"transitions": np.ones((5, 2, 4))}, r"transitions: got shape \(5, 2, 4\)"),
        ({"sofa": np.ones(4)}, r"sofa: got shape \(4,\), expected \(5,\)"),
        ({"sofa": np.full(5, np.nan)}, "sofa: got a value that is not finite"),
        ({"first": np.array([0.5, 0, 0, 0, 0.5])}, "first: expected 0 for the last 3 states"),
        ({"admissible": np.zeros((5, 2), dtype=bool)}, "admissible: state 0 has no admissible action"),
    ],
)
def test_arrays_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SepsisMDP.from_arrays(**(two_state_arrays() | changes))


def test_a_problem_in_which_a_policy_never_ends_is_refused() -> None:
    arrays = two_state_arrays()
    arrays["transitions"][1, 0] = [0, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="transitions: from state 1 some policy never reaches one of the last 3"):
        SepsisMDP.from_arrays(**arrays)


def test_policies_are_checked() -> None:
    problem = two_states()
    for wrong in (np.full((5, 2), 0.4), np.array([[1.5, -0.5]] * 5), np.full((5, 2), np.nan)):
        with pytest.raises(ValueError, match=r"policy: got .* in state 0, expected probabilities"):
            policy_values(problem, wrong)
    with pytest.raises(ValueError, match=r"discount: got 1.5, expected a number from 0 to 1"):
        policy_values(problem, uniform_policy(problem), 1.5)
    for actions in ([0, 1], [0, 0, 0, 0, 2], [0.0] * 5):
        with pytest.raises(ValueError, match=r"actions: got .*, expected 5 whole numbers from 0 to 1"):
            deterministic_policy(problem, actions)


def test_files_are_read_once_and_mistakes_in_them_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"dynamics.npz: it is not in .*pip install --no-deps icu-sepsis"):
        read_mdp(tmp_path)
    write_files(tmp_path, two_state_arrays())
    problem = read_mdp(tmp_path)
    assert problem is read_mdp(tmp_path) and problem.admissible.tolist() == two_state_arrays()["admissible"].tolist()
    assert policy_values(problem, uniform_policy(problem)) == pytest.approx(
        policy_values(two_states(), uniform_policy(problem))
    )
    with pytest.raises(ValueError, match="read-only"):
        problem.first[0] = 1.0
    other = tmp_path / "other"
    other.mkdir()
    write_files(other, two_state_arrays())
    (other / "admissible_actions.txt").write_text("2 2 2 2 2\n0 1\n0\n0 1\n0 1\n0 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected the files of icu-sepsis 2.*the counts in the first line"):
        read_mdp(other)


def test_a_missing_package_is_named_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdp_module, "find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=r"icu-sepsis is not installed.*github.com/icu-sepsis/icu-sepsis; MIT"):
        read_mdp()


def test_every_column_belongs_to_one_modality() -> None:
    named = [name for channels in MODALITIES.values() for name in channels] + list(STATIC)
    assert sorted(named) == sorted(COLUMNS) and len(COLUMNS) == 47


def test_groups_are_of_the_start_state() -> None:
    problem = two_states()
    assert start_groups(problem, "age").tolist()[:2] == [1, 2]  # the younger two thirds have their middle at one third
    assert start_groups(problem, "sofa").tolist()[:2] == [0, 2]
    for wrong in ("sex", None, ["age"]):
        with pytest.raises(ValueError, match=r"group_by: got .*, expected one of 'age', 'sofa', 'readmission', 'ventilation'"):
            start_groups(problem, wrong)  # type: ignore[arg-type]


@needs_icu_sepsis
def test_known_values_of_icu_sepsis() -> None:
    problem = read_mdp()
    assert (problem.n_states, problem.n_actions, problem.n_transient) == (716, 25, 713)
    assert problem.nbytes < 6e6
    known = {"uniform": 0.78007, "clinician": 0.78184, "best": 0.87514, "worst": 0.63299}
    best, optimum = best_policy(problem)
    found = {
        "uniform": policy_values(problem, uniform_policy(problem)),
        "clinician": policy_values(problem, clinician_policy(problem)),
        "best": optimum,
        "worst": best_policy(problem, worst=True)[1],
    }
    assert {name: float(problem.first @ values) for name, values in found.items()} == pytest.approx(known, abs=1e-5)
    lengths = [float(problem.first @ expected_lengths(problem, p)) for p in (uniform_policy(problem), best)]
    assert lengths == pytest.approx([9.462, 10.992], abs=1e-3)
    readmission = start_groups(problem, "readmission")
    assert problem.first[readmission == 1].sum() == pytest.approx(0.23, abs=0.01)
    assert group_values(problem, found["uniform"], readmission, 2)[1] == pytest.approx(0.757, abs=1e-3)
    assert group_values(problem, optimum, start_groups(problem, "sofa"), 3) == pytest.approx([0.915, 0.871, 0.827], abs=1e-3)
    shares = np.bincount(start_groups(problem, "age"), weights=problem.first)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.01) and len(GROUPINGS["age"]) == 3
