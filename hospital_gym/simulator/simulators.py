"""Many hospitals side by side: one compiled call takes a decision in each of them."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.simulator import kernel
from hospital_gym.simulator.layout import EVENT, GROUP, HOSPITAL, N_ACTIONS, PATIENT, for_kernel
from hospital_gym.simulator.simulator import Simulator

_SPARE_ROOM: Final = 1.1
"""Episodes differ in their number of patients: when one needs more room, all hospitals get a tenth more than it needs."""


class _Place(Simulator):
    """One of several hospitals: a simulator whose arrays are rows of the arrays of all.

    :param like: a simulator of the same hospital
    :param simulators: whose rows these are
    :param row: which one
    """

    def __init__(self, like: Simulator, simulators: "Simulators", row: int) -> None:
        vars(self).update(vars(like))  # scenario, grouping and constants are only read: all hospitals share them
        self._simulators, self._row = simulators, row
        self.mask = simulators.masks[row]
        self.observation = simulators.observations[row]
        self.group_rewards = simulators.group_rewards[row]
        self.group_exposure = simulators.group_exposure[row]

    def _hold(self, *state: npt.NDArray[Any]) -> None:
        super()._hold(*self._simulators.take_in(self._row, *state))

    def move(self) -> None:
        """Find the rows again after the arrays of patients and events were replaced."""
        super()._hold(*self._simulators.rows(self._row, len(self._patients)))


class Simulators:
    """The hospitals of one scenario whose arrays lie side by side.

    ``each[i]`` is hospital i as a :class:`~hospital_gym.simulator.simulator.Simulator`: it begins episodes, makes records and
    snapshots, and may also be stepped alone. The arrays below are overwritten by every step: copy what is to be kept.

    - ``observations`` (n, D) float32, ``masks`` (n, 32) bool: the present state;
    - ``group_rewards``, ``group_exposure`` (n, G) float32, ``rewards``, ``elapsed`` (n,) float64, ``groups_concerned`` (n,)
      int64, ``invalid`` (n,) bool: what the newest decisions brought.

    :param like: a simulator of the hospital
    :param number: how many hospitals, n
    :param num_threads: threads that share the hospitals
    """

    def __init__(self, like: Simulator, number: int, num_threads: int = 1) -> None:
        n_groups = len(like.grouping.names)
        self.masks = np.zeros((number, N_ACTIONS), dtype=np.bool_)
        self.observations = np.zeros((number, like.layout.size), dtype=np.float32)
        self.group_rewards = np.zeros((number, n_groups), dtype=np.float32)
        self.group_exposure = np.zeros((number, n_groups), dtype=np.float32)
        self.groups_concerned = np.full(number, -1, dtype=np.int64)
        self.invalid = np.zeros(number, dtype=np.bool_)
        self.elapsed = np.zeros(number, dtype=np.float64)
        self.rewards = np.zeros(number, dtype=np.float64)
        self._constants, self._changes = like.constants, like.capacity_changes
        self._hospitals = for_kernel(np.zeros(number, dtype=HOSPITAL))
        self._hospitals["done"] = 1  # none has begun an episode
        self._patients = for_kernel(np.zeros((number, 0), dtype=PATIENT))
        self._arrivals = np.zeros((number, 0))
        self._events = for_kernel(np.zeros((number, 2, 0), dtype=EVENT))
        self._groups = for_kernel(np.zeros((number, n_groups), dtype=GROUP))
        self._nurses = np.zeros((number, 0, 3), dtype=np.int64)
        self.each = [_Place(like, self, row) for row in range(number)]
        limits = np.linspace(0, number, min(num_threads, number) + 1).astype(int).tolist()
        self._shares = list(pairwise(limits))
        self._pool = ThreadPoolExecutor(len(self._shares), "hospitals") if len(self._shares) > 1 else None

    def step(self, actions: npt.NDArray[np.int64]) -> int:
        """Take one decision in each hospital and let time pass until its next.

        :param actions: (n,), action numbers; invalid ones are replaced by the triage rule's choice
        :return: how many hospitals have reached the horizon
        :raises ValueError: if a number is no action at all
        :raises RuntimeError: if a hospital has no running episode
        """
        arguments = (
            self._hospitals,
            self._constants,
            self._patients,
            self._arrivals,
            self._events,
            self._groups,
            self._nurses,
            self._changes,
            self.masks,
            self.observations,
            self.group_rewards,
            self.group_exposure,
            self.groups_concerned,
            self.invalid,
            self.elapsed,
            self.rewards,
            actions,
        )
        if self._pool is None:
            results = [kernel.step_all(*arguments, 0, len(self.each))[0]]
        else:
            running = [self._pool.submit(kernel.step_all, *arguments, first, last) for first, last in self._shares]
            results = [future.result()[0] for future in running]
        if min(results) < 0:
            ended, row = divmod(-1 - min(results), len(self.each))
            if ended:
                raise RuntimeError(f"step() needs running episodes, hospital {row} has none: call reset() first")
            raise ValueError(
                f"actions: got {actions[row]} for hospital {row}, expected a whole number from 0 to {N_ACTIONS - 1}"
            )
        return int(sum(results))

    @property
    def done(self) -> npt.NDArray[np.bool_]:
        """Which hospitals have reached the horizon or have not begun, (n,)."""
        return np.asarray(self._hospitals["done"]) == 1

    @property
    def decisions(self) -> npt.NDArray[np.int64]:
        """Decisions taken in the present episode of each hospital, (n,)."""
        return np.asarray(self._hospitals["decisions"])

    @property
    def nbytes(self) -> int:
        """Memory that all hospitals take, in bytes."""
        arrays = (
            self._hospitals,
            self._patients,
            self._arrivals,
            self._events,
            self._groups,
            self._nurses,
            self.masks,
            self.observations,
        )
        return sum(array.nbytes for array in arrays)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def take_in(self, row: int, *state: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        """Copy the state of one hospital into its rows.

        :param row: which hospital
        :param state: its record, patients, arrivals, events, groups and nurses
        :return: the rows
        """
        hospital, patients, arrivals, events, groups, nurses = state
        if nurses.shape != self._nurses.shape[1:]:  # the first episode: all have the same number of shifts
            self._nurses = np.zeros((len(self.each), *nurses.shape), dtype=np.int64)
        if len(patients) > self._patients.shape[1]:
            self._make_room(int(_SPARE_ROOM * len(patients)))
        rows = self.rows(row, len(patients))
        for held, given in zip(rows, (hospital, patients, arrivals, None, groups, nurses), strict=True):
            if given is not None:
                _raw(held)[:] = _raw(given)
        n_events = int(max(hospital["n_discharges"][0], hospital["n_deadlines"][0]))
        _raw(rows[3])[:, :n_events] = _raw(events)[:, :n_events]
        return rows

    def rows(self, row: int, n_patients: int) -> tuple[npt.NDArray[Any], ...]:
        """The arrays of one hospital, as views of those of all."""
        return (
            self._hospitals[row : row + 1],
            self._patients[row, :n_patients],
            self._arrivals[row, : n_patients + 1],
            self._events[row],
            self._groups[row],
            self._nurses[row],
        )

    def _make_room(self, n_patients: int) -> None:
        """Let every hospital have room for so many patients and their events."""
        n = len(self.each)
        larger = {
            "_patients": np.zeros((n, n_patients), dtype=PATIENT),
            "_arrivals": np.zeros((n, n_patients + 1)),
            "_events": np.zeros((n, 2, n_patients), dtype=EVENT),
        }
        for name, new in larger.items():
            old = getattr(self, name)
            _raw(new)[..., : old.shape[-1]] = _raw(old)
            setattr(self, name, for_kernel(new))
        for place, hospital in zip(self.each, self._hospitals, strict=True):
            if hospital["n_patients"] > 0:
                place.move()


def _raw(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same without fields: copying field by field is twenty times slower."""
    return array.view(f"V{array.itemsize}")
