"""Exact values of policies in a decision problem with terminal states, overall and by group. Pure functions.

With a policy pi(a|s), transition probabilities P and expected rewards r, values solve V = r_pi + discount P_pi V, one linear
equation for each state in which somebody is treated (Puterman, *Markov Decision Processes*, 1994, theorem 6.1.1; with discount
1 there is one solution because every policy ends). The optimum is found by policy iteration (section 6.4 there), which ends
with an exact solution.

A policy here is a table (S, A): what is done depends on the present state alone. One that sees a history of several states has
none, and cannot be valued like this.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import spsolve

from hospital_gym.clinical.sepsis.mdp import TOLERANCE, Bools, Floats, SepsisMDP

#: By how much another action must be better to replace one: rounding must not make policy iteration run in circles
GAIN = 1e-12


def uniform_policy(mdp: SepsisMDP) -> Floats:
    """
    :param mdp: decision problem
    :return: (S, A) every action alike; as inadmissible ones act as random admissible ones, so are the admissible ones alone
    """
    return np.full((mdp.n_states, mdp.n_actions), 1.0 / mdp.n_actions)


def clinician_policy(mdp: SepsisMDP) -> Floats:
    """
    :param mdp: decision problem
    :return: (S, A) how often clinicians gave each action
    """
    policy = mdp.clinician.copy()
    policy[mdp.n_transient :] = 1.0 / mdp.n_actions  # nobody acts there
    return policy


def deterministic_policy(mdp: SepsisMDP, actions: npt.ArrayLike) -> Floats:
    """
    :param mdp: decision problem
    :param actions: (S,) action of each state
    :return: (S, A) the same as probabilities
    :raises ValueError: if they are not S actions
    """
    chosen = np.asarray(actions)
    wanted = f"{mdp.n_states} whole numbers from 0 to {mdp.n_actions - 1}"
    if chosen.shape != (mdp.n_states,) or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= mdp.n_actions:
        raise ValueError(f"actions: got {actions!r}, expected {wanted}")
    return np.eye(mdp.n_actions)[chosen]


def policy_values(mdp: SepsisMDP, policy: npt.ArrayLike, discount: float = 1.0) -> Floats:
    """
    Expected discounted reward from each state on.

    :param mdp: decision problem
    :param policy: (S, A) probability of each action; rows of terminal states do not matter
    :param discount: in [0, 1]
    :return: (S,) values; without discount, and with the rewards of ICU-Sepsis, probabilities of survival
    :raises ValueError: if policy or discount are not what they must be
    """
    weights = _weights(mdp, policy)
    return _solve(mdp, weights, weights @ mdp.row_rewards, discount)


def expected_lengths(mdp: SepsisMDP, policy: npt.ArrayLike) -> Floats:
    """
    :param mdp: decision problem
    :param policy: (S, A)
    :return: (S,) expected number of decisions from each state on, 0 in terminal states
    """
    return _solve(mdp, _weights(mdp, policy), np.ones(mdp.n_transient), 1.0)


def action_values(mdp: SepsisMDP, values: Floats, discount: float = 1.0) -> Floats:
    """
    :param mdp: decision problem
    :param values: (S,) value of each state
    :param discount: in [0, 1]
    :return: (S, A) expected reward of each action, plus the discounted value of where it leads; 0 in terminal states
    """
    by_row = mdp.row_rewards + discount * (mdp.matrix @ values)
    result: Floats = by_row[mdp.rows]
    result[mdp.n_transient :] = 0.0
    return result


def best_policy(mdp: SepsisMDP, discount: float = 1.0, worst: bool = False) -> tuple[Floats, Floats]:
    """
    The optimum, or the worst that admissible actions can do. Inadmissible actions, which average over admissible ones, are
    neither better nor worse.

    :param mdp: decision problem
    :param discount: in [0, 1]
    :param worst: whether to minimise
    :return: policy (S, A), deterministic, and its values (S,)
    """
    sign, states = (-1.0 if worst else 1.0), np.arange(mdp.n_states)
    chosen = mdp.admissible.argmax(axis=1)
    while True:
        values = policy_values(mdp, deterministic_policy(mdp, chosen), discount)
        gains = np.where(mdp.admissible, sign * action_values(mdp, values, discount), -np.inf)
        better = gains.argmax(axis=1)
        improves = gains[states, better] > gains[states, chosen] + GAIN
        if not improves[: mdp.n_transient].any():
            return deterministic_policy(mdp, chosen), values
        chosen = np.where(improves, better, chosen)


def group_values(mdp: SepsisMDP, values: Floats, group: npt.NDArray[np.integer], n_groups: int) -> Floats:
    """
    :param mdp: decision problem
    :param values: (S,) value of each state
    :param group: (S,) group of those who start in each state
    :param n_groups: number of groups, G
    :return: (G,) mean value of those who start in each group; NaN for a group in which nobody starts
    """
    shares = np.bincount(group, weights=mdp.first, minlength=n_groups)
    sums = np.bincount(group, weights=mdp.first * values, minlength=n_groups)
    return np.divide(sums, shares, out=np.full(n_groups, np.nan), where=shares > 0.0)


@dataclass(frozen=True)
class Worth:
    """
    What a policy is worth.

    :param value: expected reward of a patient; in ICU-Sepsis the probability of survival
    :param length: expected number of decisions
    :param regret: by how much the value is below the optimum
    :param group_values: (G,) value by group
    :param group_regrets: (G,) regret by group
    """

    value: float
    length: float
    regret: float
    group_values: Floats
    group_regrets: Floats


def assess(mdp: SepsisMDP, policy: npt.ArrayLike, group: npt.NDArray[np.integer], n_groups: int) -> Worth:
    """
    :param mdp: decision problem
    :param policy: (S, A) probability of each action
    :param group: (S,) group of those who start in each state
    :param n_groups: number of groups, G
    :return: value, length and regret against the optimum, overall and by group, undiscounted
    """
    values, (_, optimum) = policy_values(mdp, policy), best_policy(mdp)
    by_group = group_values(mdp, values, group, n_groups)
    return Worth(
        value=float(mdp.first @ values),
        length=float(mdp.first @ expected_lengths(mdp, policy)),
        regret=float(mdp.first @ (optimum - values)),
        group_values=by_group,
        group_regrets=group_values(mdp, optimum, group, n_groups) - by_group,
    )


def _weights(mdp: SepsisMDP, policy: npt.ArrayLike) -> sparse.csr_array:
    """(transient states, R) how often the policy takes each row."""
    table = np.asarray(policy, dtype=np.float64)
    if table.shape != mdp.rows.shape:
        raise ValueError(
            f"policy: got shape {table.shape}, expected {mdp.rows.shape}, a probability for each state and action"
        )
    table = table[: mdp.n_transient]
    wrong: Bools = ~(table >= 0.0).all(axis=1) | ~(np.abs(table.sum(axis=1) - 1.0) <= 1e3 * TOLERANCE)
    if wrong.any():
        state = int(np.argmax(wrong))
        raise ValueError(f"policy: got {table[state]} in state {state}, expected probabilities >= 0 whose sum is 1")
    states, actions = np.nonzero(table)
    places = (states, mdp.rows[states, actions])
    return sparse.csr_array((table[states, actions], places), shape=(mdp.n_transient, len(mdp.row_rewards)))


def _solve(mdp: SepsisMDP, weights: sparse.csr_array, gained: Floats, discount: float) -> Floats:
    """(S,) what is gained in each state and in those that follow."""
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount: got {discount!r}, expected a number from 0 to 1")
    n = mdp.n_transient
    among = (weights @ mdp.matrix)[:, :n]
    values = np.zeros(mdp.n_states)
    values[:n] = spsolve(sparse.csc_array(sparse.eye_array(n) - discount * among), gained)
    return values
