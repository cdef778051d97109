"""The ICU-Sepsis decision problem: its numbers, stored sparsely and read from the files of the package ``icu-sepsis``.

Source: Choudhary, Gupta and Thomas, "ICU-Sepsis: A benchmark MDP built from real medical data", RLC 2024 (arXiv 2406.05646);
package ``icu-sepsis`` 2.0.1 (MIT licence). Only its two data files are read. The package itself is never imported: that would
import the unmaintained ``gym``.
"""

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hospital_gym.clinical.data_directory import MissingDataError
from hospital_gym.clinical.sepsis.modalities import COLUMNS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

N_TERMINAL: Final = 3
"""The last three states: death, survival, and the state in which both stay for ever."""
FILES: Final = ("dynamics.npz", "admissible_actions.txt")
SOURCE: Final = (
    "icu-sepsis 2.0.1 (https://github.com/icu-sepsis/icu-sepsis; MIT licence): `pip install --no-deps icu-sepsis` (without "
    "its dependencies, which are not needed and include the unmaintained gym)"
)
TOLERANCE: Final = 1e-9


@dataclass(frozen=True, eq=False)
class SepsisMDP:
    """
    A decision problem of S states and A actions whose last three states are terminal. Arrays are read-only: environments share
    them.

    What a state and an action lead to is a row of ``next_states``, ``probabilities`` and ``rewards``; equal rows (those of all
    inadmissible actions of a state) are stored once.

    :param rows: (S, A) number of the row of each state and action, 0 to R - 1
    :param begins: (R + 1,) row r has the entries ``begins[r]`` to ``begins[r + 1] - 1``
    :param next_states: (K,) where each entry leads
    :param probabilities: (K,) and how probably
    :param rewards: (K,) what it earns
    :param first: (S,) probability of each start state
    :param admissible: (S, A) actions that were given often enough to be estimated; the others act as a random one of these
    :param clinician: (S, A) how often clinicians gave each action; 0 in terminal states
    :param centres: (S, 47) mean patient of each state, columns as in :data:`~hospital_gym.clinical.sepsis.modalities.COLUMNS`
    :param sofa: (S,) mean SOFA score of each state, 0 to 24
    """

    rows: Ints
    begins: Ints
    next_states: Ints
    probabilities: Floats
    rewards: Floats
    first: Floats
    admissible: Bools
    clinician: Floats
    centres: Floats
    sofa: Floats

    @classmethod
    def from_arrays(
        cls,
        transitions: Floats,
        rewards: Floats,
        first: Floats,
        admissible: Bools,
        clinician: Floats,
        centres: Floats,
        sofa: Floats,
    ) -> "SepsisMDP":
        """
        Check dense arrays and store them sparsely.

        :param transitions: (S, A, S) probabilities
        :param rewards: (S, A, S)
        :param first: (S,), as for the class, and so are the others
        :param admissible: (S, A)
        :param clinician: (S, A)
        :param centres: (S, 47)
        :param sofa: (S,)
        :return: the decision problem
        :raises ValueError: naming the array and what is wrong with it
        """
        _check_arrays(transitions, rewards, first, admissible, clinician, centres, sofa)
        n_states, n_actions = admissible.shape
        number: dict[bytes, int] = {}
        kept: list[tuple[Ints, Floats, Floats]] = []
        rows = np.zeros((n_states, n_actions), dtype=np.int64)
        for state in range(n_states):
            for action in range(n_actions):
                reached = np.flatnonzero(transitions[state, action])
                row = (reached, transitions[state, action, reached], rewards[state, action, reached])
                key = b"".join(part.tobytes() for part in row)
                if number.setdefault(key, len(kept)) == len(kept):
                    kept.append(row)
                rows[state, action] = number[key]
        begins = np.concatenate([[0], np.cumsum([len(reached) for reached, _, _ in kept])])
        entries = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
        mdp = cls(rows, begins, *entries, *(np.array(a) for a in (first, admissible, clinician, centres, sofa)))
        for array in vars(mdp).values():
            array.flags.writeable = False
        endless = mdp.endless_states()
        if len(endless):
            raise ValueError(
                f"transitions: from state {endless[0]} some policy never reaches one of the last {N_TERMINAL} states"
            )
        return mdp

    @property
    def n_states(self) -> int:
        """S, with the terminal states."""
        return self.rows.shape[0]

    @property
    def n_actions(self) -> int:
        """A."""
        return self.rows.shape[1]

    @property
    def n_transient(self) -> int:
        """Number of states in which somebody is treated; they come first."""
        return self.n_states - N_TERMINAL

    @property
    def survival(self) -> int:
        """Number of the state that stands for survival."""
        return self.n_states - 2

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """(R, S) the rows as a sparse matrix of probabilities."""
        shape = (len(self.begins) - 1, self.n_states)
        return sparse.csr_array((self.probabilities, self.next_states, self.begins), shape=shape)

    @cached_property
    def row_rewards(self) -> Floats:
        """(R,) expected reward of each row."""
        return np.add.reduceat(self.probabilities * self.rewards, self.begins[:-1])

    @cached_property
    def cumulative(self) -> Floats:
        """(K,) row number plus the sum of the row's probabilities so far: one ascending array to search for all rows."""
        sums = np.concatenate([[0.0], np.cumsum(self.probabilities)])
        row = np.repeat(np.arange(len(self.begins) - 1), np.diff(self.begins))
        return row + np.minimum(sums[1:] - sums[self.begins[row]], 1.0)

    @cached_property
    def first_cumulative(self) -> Floats:
        """(S',) sums of the probabilities of the start states, up to the last that is possible."""
        return np.cumsum(self.first[: int(np.flatnonzero(self.first)[-1]) + 1])

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def draw_first(self, uniforms: Floats) -> Ints:
        """
        Where patients start, by inversion.

        :param uniforms: (n,) in [0, 1)
        :return: states (n,)
        """
        sums = self.first_cumulative
        return np.searchsorted(sums, uniforms * sums[-1], side="right")

    def draw(self, states: Ints, actions: Ints, uniforms: Floats) -> tuple[Ints, Floats]:
        """
        Where patients go, by inversion of the cumulative probabilities.

        :param states: (n,)
        :param actions: (n,)
        :param uniforms: (n,) in [0, 1)
        :return: next states (n,) and rewards (n,)
        """
        rows = self.rows[states, actions]
        entries = np.searchsorted(self.cumulative, rows + uniforms, side="right")
        entries = np.minimum(entries, self.begins[rows + 1] - 1)  # where rounding takes the sum to the next row's
        return self.next_states[entries], self.rewards[entries]

    def __deepcopy__(self, memo: Any) -> "SepsisMDP":
        """The same: nothing in it changes, and copies of an environment share it."""
        return self

    def endless_states(self) -> Ints:
        """States from which some policy never reaches a terminal state; none in a problem that was read."""
        inside = np.arange(self.n_states) < self.n_transient
        while True:
            leaves = (self.matrix @ (~inside).astype(np.float64)) > 0.0
            stays = inside & ~leaves[self.rows].all(axis=1)
            if (stays == inside).all():
                return np.flatnonzero(inside)
            inside = stays


def _check_arrays(
    transitions: Floats, rewards: Floats, first: Floats, admissible: Bools, clinician: Floats, centres: Floats, sofa: Floats
) -> None:
    """
    :raises ValueError: naming the array and what is wrong with it
    """
    if transitions.ndim != 3 or transitions.shape[0] != transitions.shape[2] or transitions.shape[0] <= N_TERMINAL:
        raise ValueError(f"transitions: got shape {transitions.shape}, expected (S, A, S) with S > {N_TERMINAL}")
    n_states, n_actions, _ = transitions.shape
    n_transient = n_states - N_TERMINAL
    shapes = {
        "rewards": (rewards, transitions.shape),
        "first": (first, (n_states,)),
        "admissible": (admissible, (n_states, n_actions)),
        "clinician": (clinician, (n_states, n_actions)),
        "centres": (centres, (n_states, len(COLUMNS))),
        "sofa": (sofa, (n_states,)),
    }
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(f"{name}: got shape {array.shape}, expected {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: got a value that is not finite")
    for name, array in (
        ("transitions", transitions),
        ("first", first),
        ("clinician", clinician[:n_transient]),
    ):
        if not (array >= 0.0).all() or np.abs(array.sum(axis=-1) - 1.0).max() > TOLERANCE:
            raise ValueError(f"{name}: expected probabilities >= 0 whose sum is 1")
    if first[n_transient:].any():
        raise ValueError(f"first: expected 0 for the last {N_TERMINAL} states, which are terminal")
    if not admissible.any(axis=1).all():
        raise ValueError(f"admissible: state {int(np.argmin(admissible.any(axis=1)))} has no admissible action")


def read_mdp(folder: str | os.PathLike[str] | None = None) -> SepsisMDP:
    """
    Read the decision problem; one folder is read once per process, and everybody gets the same arrays.

    :param folder: a folder with ``dynamics.npz`` and ``admissible_actions.txt``; None for that of the installed package
    :return: the decision problem, about 5 MB in place of the 205 MB of the dense arrays
    :raises MissingDataError: if the package or a file is not there
    :raises ValueError: if the files hold something else
    """
    root = _package_assets() if folder is None else Path(folder).expanduser()
    for name in FILES:
        if not (root / name).is_file():
            raise MissingDataError(f"{name}: it is not in {root}. It is part of {SOURCE}")
    return _read(root.resolve())


def _package_assets() -> Path:
    """
    :return: where the package keeps its data, found without importing it
    :raises MissingDataError: if it is not installed
    """
    spec = find_spec("icu_sepsis")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDataError(
            f"The package icu-sepsis is not installed. Its files {' and '.join(FILES)} hold the decision problem. They are "
            f"part of {SOURCE}; or pass `mdp=` the folder of these files"
        )
    return Path(spec.submodule_search_locations[0]) / "envs" / "assets"


@lru_cache(maxsize=4)
def _read(root: Path) -> SepsisMDP:
    try:
        with np.load(root / FILES[0]) as file:
            arrays = {name: file[name] for name in ("tx_mat", "r_mat", "d_0", "expert_policy", "state_cluster_centers")}
            sofa = file["sofa_scores"]
        admissible = _read_admissible(root / FILES[1], arrays["tx_mat"].shape[1])
    except (KeyError, IndexError, ValueError, OSError) as error:
        raise ValueError(f"{root}: expected the files of icu-sepsis 2, but reading them failed: {error}") from error
    return SepsisMDP.from_arrays(
        arrays["tx_mat"],
        arrays["r_mat"],
        arrays["d_0"],
        admissible,
        arrays["expert_policy"],
        arrays["state_cluster_centers"],
        sofa,
    )


def _read_admissible(path: Path, n_actions: int) -> Bools:
    """The first line holds the number of admissible actions of each state, each further line those of one state."""
    counts, *lines = path.read_text(encoding="utf-8").splitlines()
    numbers = [[int(word) for word in line.split()] for line in lines]
    if [len(actions) for actions in numbers] != [int(word) for word in counts.split()]:
        raise ValueError("the counts in the first line are not those of the lines that follow")
    admissible = np.zeros((len(numbers), n_actions), dtype=np.bool_)
    for state, actions in enumerate(numbers):
        admissible[state, actions] = True
    return admissible
