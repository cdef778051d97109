"""Courses of treatment: patients side by side, as arrays. What single and vector environments have in common."""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.sepsis.mdp import Bools, Floats, Ints, SepsisMDP
from hospital_gym.clinical.sepsis.observation import NOBODY
from hospital_gym.clinical.sepsis.random_numbers import Keys, seed_keys, uniforms, words

HOURS_PER_STEP: Final = 4.0
"""ICU-Sepsis divides stays into steps of four hours."""


class Snapshot(NamedTuple):
    """One course at one moment. Arrays have one row and are never written to.

    :param mdp: the decision problem
    :param arrays: what :attr:`Courses.arrays` held
    """

    mdp: SepsisMDP
    arrays: tuple[npt.NDArray[Any], ...]


class Courses:
    """
    n patients, each in an episode of its own.

    Episode k of seed s has the same random numbers whatever is done in it: number 0 chooses the start state, number t + 1 what
    follows decision t. They come from a stream whose key is word k of the seed's own stream.

    :param mdp: the decision problem
    :param n: number of patients
    :param history: number of states that are remembered, H
    :param groups: (S,) group of those who start in each state
    :param n_groups: number of groups, G
    """

    def __init__(self, mdp: SepsisMDP, n: int, history: int, groups: Ints, n_groups: int) -> None:
        self.mdp, self._groups, self._n_groups = mdp, groups, n_groups
        #: (n,) stream of each patient's sequence of episodes
        self.seeds: Keys = np.zeros(n, dtype=np.uint64)
        #: (n,) number of the episode
        self.episodes: Ints = np.zeros(n, dtype=np.int64)
        #: (n,) stream of the episode, or of another future of it
        self.keys: Keys = np.zeros(n, dtype=np.uint64)
        #: (n,) decisions made in the episode
        self.times: Ints = np.zeros(n, dtype=np.int64)
        #: (n,) group of the state in which the episode began
        self.group: Ints = np.zeros(n, dtype=np.int64)
        #: (n, H) the last states in which somebody was treated, the newest last; -1 before the episode
        self.histories: Ints = np.full((n, history), NOBODY, dtype=np.int64)
        #: (n,) whether the episode goes on
        self.running: Bools = np.zeros(n, dtype=np.bool_)

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """Everything that changes."""
        return self.seeds, self.episodes, self.keys, self.times, self.group, self.histories, self.running

    @property
    def states(self) -> Ints:
        """(n,) the states in which the next decisions are made, or the last ones were."""
        return self.histories[:, -1]

    def seed(self, seeds: npt.ArrayLike) -> None:
        """Begin other sequences of episodes; the next episode is number 0.

        :param seeds: (n,) whole numbers >= 0
        """
        self.seeds, self.episodes = seed_keys(seeds), np.full(len(self.seeds), -1, dtype=np.int64)

    def begin(self, which: Ints, start: int | None = None, episode: int | None = None) -> None:
        """Begin the next episodes.

        :param which: numbers of the patients
        :param start: state in which they start; None to draw it
        :param episode: number of the episode in place of the next
        """
        self.episodes[which] = self.episodes[which] + 1 if episode is None else episode
        keys = self.keys[which] = words(self.seeds[which], self.episodes[which])
        states = self.mdp.draw_first(uniforms(keys, np.zeros(len(which), dtype=np.int64))) if start is None else start
        self.times[which] = 0
        self.histories[which, :-1] = NOBODY
        self.histories[which, -1] = states
        self.group[which] = self._groups[states]
        self.running[which] = True

    def treat(self, actions: Ints) -> Floats:
        """Make a decision for everybody. The history of an episode that ends stays as it was at its last decision.

        :param actions: (n,)
        :return: (n,) rewards
        """
        self.times += 1
        reached, rewards = self.mdp.draw(self.states, actions, uniforms(self.keys, self.times))
        self.running = reached < self.mdp.n_transient
        ended = self.histories[~self.running]
        self.histories[:, :-1] = self.histories[:, 1:]
        self.histories[:, -1] = reached
        self.histories[~self.running] = ended
        return rewards

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """What ``info`` says of the present moment, each with n rows."""
        states = self.states
        return {
            "group_id": self.group.copy(),
            "action_mask": self.mdp.admissible[states],
            "state": states.copy(),
            "sofa": self.mdp.sofa[states],
        }

    def step_columns(self, admissible: Bools, rewards: Floats) -> dict[str, npt.NDArray[Any]]:
        """What ``info`` says of a decision, each with n rows.

        :param admissible: (n,) whether its action was
        :param rewards: (n,) what it earned
        """
        n = len(rewards)
        patients = np.arange(n)
        split, exposure = np.zeros((2, n, self._n_groups), dtype=np.float32)
        split[patients, self.group] = rewards
        exposure[patients, self.group] = ~self.running
        return {
            **self.columns(),
            "group_rewards": split,
            "group_exposure": exposure,
            "elapsed": np.full(n, HOURS_PER_STEP),
            "invalid_action": ~admissible,
        }

    def snapshot(self) -> Snapshot:
        """Everything as it is now; see :meth:`restore`."""
        return Snapshot(self.mdp, tuple(array.copy() for array in self.arrays))

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, possibly of other courses of the same decision problem; what follows is identical.

        :param snapshot: what :meth:`snapshot` returned
        :raises ValueError: if it is one of another decision problem, or of another shape
        """
        shapes = [array.shape for array in self.arrays]
        if not isinstance(snapshot, Snapshot) or snapshot.mdp is not self.mdp:
            raise ValueError(f"snapshot: got {type(snapshot).__name__}, expected one of an environment of the same files")
        if [array.shape for array in snapshot.arrays] != shapes:
            raise ValueError("snapshot: got one with another number of states in its history, expected the same `history`")
        copies: Any = [array.copy() for array in snapshot.arrays]
        self.seeds, self.episodes, self.keys, self.times, self.group, self.histories, self.running = copies

    def redraw_future(self, seed: int) -> None:
        """Let the episodes go on differently from now on; what has happened stays.

        :param seed: seed of the other future, >= 0
        """
        self.keys = words(np.broadcast_to(seed_keys(seed, purpose=1), self.keys.shape), np.arange(len(self.keys)))
