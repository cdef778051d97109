"""Courses of treatment without Gymnasium: of one patient in plain numbers, of many as arrays. Both come to the same."""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hospital_gym.clinical.sepsis.mdp import Bools, Floats, Ints, SepsisMDP
from hospital_gym.clinical.sepsis.observation import NOBODY
from hospital_gym.clinical.sepsis.random_numbers import Keys, seed_keys, uniform, uniforms, word, words

HOURS_PER_STEP: Final = 4.0
"""ICU-Sepsis divides stays into steps of four hours."""


class Snapshot(NamedTuple):
    """A course at one moment.

    :param mdp: the decision problem
    :param state: what :class:`Course` remembers, in its order
    """

    mdp: SepsisMDP
    state: tuple[int, int, int, int, int, tuple[int, ...], bool]


class Course:
    """
    One patient, episode after episode, in plain numbers: what :class:`Courses` does for many.

    Episode k of seed s has the same random numbers whatever is done in it: number 0 chooses the start state, number t + 1 what
    follows decision t. They come from a stream whose key is word k of the seed's own stream.

    :param mdp: the decision problem
    :param history: number of states that are remembered, H
    :param groups: (S,) group of those who start in each state
    """

    def __init__(self, mdp: SepsisMDP, history: int, groups: Ints) -> None:
        self.mdp, self._groups = mdp, groups
        #: Stream of the sequence of episodes
        self.stream = 0
        #: Number of the episode; -1 before the first
        self.episode = -1
        #: Stream of the episode, or of another future of it
        self.key = 0
        #: Decisions made in the episode
        self.time = 0
        #: Group of the state in which the episode began
        self.group = 0
        #: The last H states in which the patient was treated, the newest last; -1 before the episode
        self.history: tuple[int, ...] = (NOBODY,) * history
        #: Whether the episode goes on
        self.running = False

    @property
    def state(self) -> int:
        """The state in which the next decision is made, or the last one was."""
        return self.history[-1]

    def seed(self, seed: int) -> None:
        """Begin another sequence of episodes; the next episode is number 0.

        :param seed: >= 0
        """
        self.stream, self.episode = int(seed_keys(seed)[0]), -1

    def begin(self, start: int | None = None, episode: int | None = None) -> None:
        """Begin the next episode.

        :param start: state in which it starts; None to draw it
        :param episode: its number in place of the next
        """
        self.episode = self.episode + 1 if episode is None else int(episode)
        self.key, self.time, self.running = word(self.stream, self.episode), 0, True
        first = self.mdp.draw_first(np.array([uniform(self.key, 0)]))[0] if start is None else start
        self.history = (*(NOBODY,) * (len(self.history) - 1), int(first))
        self.group = int(self._groups[first])

    def treat(self, action: int) -> float:
        """Make a decision. The history of an episode that ends stays as it was at its last decision.

        :param action: number of the action
        :return: reward
        """
        self.time += 1
        reached, reward = self.mdp.draw_one(self.state, action, uniform(self.key, self.time))
        self.running = reached < self.mdp.n_transient
        if self.running:
            self.history = (*self.history[1:], reached)
        return reward

    def snapshot(self) -> Snapshot:
        """Everything as it is now; see :meth:`restore`."""
        state = (self.stream, self.episode, self.key, self.time, self.group, self.history, self.running)
        return Snapshot(self.mdp, state)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, possibly of another course in the same decision problem; what follows is identical.

        :param snapshot: what :meth:`snapshot` returned
        :raises ValueError: if it is one of another decision problem, or of another history
        """
        if not isinstance(snapshot, Snapshot) or snapshot.mdp is not self.mdp:
            raise ValueError(f"snapshot: got {type(snapshot).__name__}, expected one of an environment of the same files")
        stream, episode, key, time, group, history, running = snapshot.state
        if len(history) != len(self.history):
            raise ValueError(f"snapshot: got one with a history of {len(history)} states, expected {len(self.history)}")
        self.stream, self.episode, self.key, self.time, self.group = stream, episode, key, time, group
        self.history, self.running = history, running

    def redraw_future(self, seed: int) -> None:
        """Let the episode go on differently from now on; what has happened stays.

        :param seed: seed of the other future, >= 0
        """
        self.key = int(seed_keys(seed, purpose=1)[0])


class Courses:
    """
    n patients, each in an episode of its own, with the random numbers of :class:`Course`.

    :param mdp: the decision problem
    :param n: number of patients
    :param history: number of states that are remembered, H
    :param groups: (S,) group of those who start in each state
    :param n_groups: number of groups, G
    """

    def __init__(self, mdp: SepsisMDP, n: int, history: int, groups: Ints, n_groups: int) -> None:
        self.mdp, self._groups, self._n_groups = mdp, groups, n_groups
        #: (n,) stream of each patient's sequence of episodes
        self.streams: Keys = np.zeros(n, dtype=np.uint64)
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
    def states(self) -> Ints:
        """(n,) the states in which the next decisions are made, or the last ones were."""
        return self.histories[:, -1]

    def seed(self, seeds: npt.ArrayLike) -> None:
        """Begin other sequences of episodes; the next episode is number 0.

        :param seeds: (n,) whole numbers >= 0
        """
        self.streams, self.episodes[:] = seed_keys(seeds), -1

    def begin(self, which: Ints) -> None:
        """Begin the next episodes.

        :param which: numbers of the patients
        """
        self.episodes[which] += 1
        keys = self.keys[which] = words(self.streams[which], self.episodes[which])
        states = self.mdp.draw_first(uniforms(keys, np.zeros(len(which), dtype=np.int64)))
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

    def one(self, patient: int) -> Course:
        """One of the patients by itself, as it is now; what happens to either does not touch the other.

        :param patient: its number
        """
        course = Course(self.mdp, self.histories.shape[1], self._groups)
        course.stream, course.key = int(self.streams[patient]), int(self.keys[patient])
        course.episode, course.time = int(self.episodes[patient]), int(self.times[patient])
        course.group, course.running = int(self.group[patient]), bool(self.running[patient])
        course.history = tuple(self.histories[patient].tolist())
        return course
