"""Small decision problems of the kind of ICU-Sepsis, and whether the real one is here."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hospital_gym.clinical.sepsis.mdp import FILES, SepsisMDP
from hospital_gym.clinical.sepsis.modalities import COLUMNS, column

needs_icu_sepsis = pytest.mark.skipif(find_spec("icu_sepsis") is None, reason="the package icu-sepsis is not installed")

DEATH, SURVIVAL, AFTER = -3, -2, -1


def two_state_arrays() -> dict[str, np.ndarray]:
    """
    Two states, two actions, then death, survival and after.

    In state 0 action 0 survives with 0.6 and dies with 0.4; action 1 leads to state 1 with 0.5, to survival with 0.3, to death
    with 0.2. In state 1 action 0 survives with 0.9 and dies with 0.1; action 1 is inadmissible and acts like it.
    Two of three patients start in state 0, the others, who are older and sicker, in state 1.
    """
    n_states, n_actions = 5, 2
    transitions = np.zeros((n_states, n_actions, n_states))
    transitions[0, 0, [SURVIVAL, DEATH]] = 0.6, 0.4
    transitions[0, 1, [1, SURVIVAL, DEATH]] = 0.5, 0.3, 0.2
    transitions[1, :, [SURVIVAL]] = 0.9
    transitions[1, :, [DEATH]] = 0.1
    transitions[DEATH:, :, AFTER] = 1.0
    rewards = np.zeros_like(transitions)
    rewards[:DEATH, :, SURVIVAL] = 1.0
    centres = np.zeros((n_states, len(COLUMNS)))
    centres[:2, column("age")] = -1.0, 1.0
    admissible = np.ones((n_states, n_actions), dtype=bool)
    admissible[1, 1] = False
    clinician = np.zeros((n_states, n_actions))
    clinician[:2] = [0.5, 0.5], [1.0, 0.0]
    return {
        "transitions": transitions,
        "rewards": rewards,
        "first": np.array([2.0, 1.0, 0.0, 0.0, 0.0]) / 3.0,
        "admissible": admissible,
        "clinician": clinician,
        "centres": centres,
        "sofa": np.array([3.0, 12.0, 0.0, 0.0, 0.0]),
    }


def two_states() -> SepsisMDP:
    """:func:`two_state_arrays` as a decision problem."""
    return SepsisMDP.from_arrays(**two_state_arrays())


def random_problem(seed: int, n_transient: int = 6, n_actions: int = 3) -> SepsisMDP:
    """States that lead anywhere with random probabilities, so that every policy ends."""
    rng = np.random.default_rng(seed)
    n_states = n_transient + 3
    transitions = np.zeros((n_states, n_actions, n_states))
    transitions[:n_transient, :, :-1] = rng.dirichlet(np.full(n_states - 1, 0.5), (n_transient, n_actions))
    transitions[n_transient:, :, AFTER] = 1.0
    admissible = rng.random((n_states, n_actions)) < 0.6
    admissible[:, 0] = True
    for state in range(n_transient):
        transitions[state, ~admissible[state]] = transitions[state, admissible[state]].mean(axis=0)
    rewards = np.zeros_like(transitions)
    rewards[:n_transient, :, SURVIVAL] = 1.0
    clinician = np.where(admissible, rng.random(admissible.shape) + 0.1, 0.0)
    clinician /= clinician.sum(axis=1, keepdims=True)
    first = np.append(rng.dirichlet(np.ones(n_transient)), np.zeros(3))
    centres = rng.normal(size=(n_states, len(COLUMNS)))
    return SepsisMDP.from_arrays(transitions, rewards, first, admissible, clinician, centres, rng.uniform(0, 15, n_states))


def write_files(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """The files of the package, with other contents."""
    names = {"transitions": "tx_mat", "rewards": "r_mat", "first": "d_0", "clinician": "expert_policy"}
    names |= {"centres": "state_cluster_centers", "sofa": "sofa_scores"}
    np.savez(folder / FILES[0], **{name: arrays[key] for key, name in names.items()})  # type: ignore[arg-type]
    actions = [np.flatnonzero(row) for row in arrays["admissible"]]
    lines = [" ".join(str(len(row)) for row in actions), *(" ".join(map(str, row)) for row in actions)]
    (folder / FILES[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
