"""Early warning as a sequence of decisions: every hour brings measurements, and an alarm is raised or not."""

import operator
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hospital_gym.clinical.cases import CaseStream, checked_seed
from hospital_gym.clinical.early_warning import (
    GROUPS,
    HORIZON,
    EscalationRewards,
    Split,
    checked_rewards,
    outcome_weights,
    prepare_watch,
)
from hospital_gym.clinical.early_warning_rendering import draw_stay, print_stay
from hospital_gym.clinical.icu_observation import Observe
from hospital_gym.clinical.icu_stays import IcuStays
from hospital_gym.clinical.preprocessing import Floats

Observation = dict[str, Floats]


class Snapshot(NamedTuple):
    """
    A moment of an episode.

    :param position: which of the watched stays
    :param hour: the newest hour that is seen, from 0
    :param escalated: whether the alarm was raised
    :param running: whether a decision is due
    """

    position: int
    hour: int
    escalated: bool
    running: bool


class EarlyWarningEnv(gym.Env[Observation, np.int64]):
    """
    ## Description

    A patient has come to intensive care. Every hour brings measurements of five modalities, and the agent waits or escalates:
    calls those who can do more, because it fears that the patient will die in hospital. Escalating ends the episode, and so
    does the last hour. What is recorded does not depend on the agent: it may look, not treat.

    Research software, not a medical device: what a policy learns here is about recorded stays, and no evidence on patients.

    ## Action Space

    `Discrete(2)`: 0 waits, 1 escalates.

    ## Observation Space

    A `Dict` of float32 `Box`es. For each modality m (`vitals`, `blood_gas`, `chemistry`, `haematology`, `fluids`):

    | Key | Shape | Meaning |
    |---|---|---|
    | m | (window, channels) | values of the newest hours, standardised, in [-10, 10]; 0 where not measured or padding |
    | m + `_observed` | (window, channels) | 1 where measured in that hour, else 0 |
    | `hours` | (window,) | 1 where the row is an hour of the stay, 0 where it is padding; the last row is now |
    | `static` | (n_static,) | age, sex, height, weight, kind of unit, standardised, 0 where unknown; then 1 where unknown |

    With `observe="summary"`, `summary` in place of the modalities: last, least, largest and mean value so far of every
    channel, and how often it was measured. Means and deviations are those of the training stays.

    ## Rewards

    | Decision | Patient who will die | Patient who will live |
    |---|---|---|
    | escalate | +1 | -1/3 |
    | wait, not the last hour | -0.01 | 0 |
    | wait in the last hour | -1 | 0 |

    The values are assumed and adjustable, `EscalationRewards` has the reasons. With them an alarm in the last hour pays from a
    risk of 1/7 on.

    ## `info` of every step

    | Key | Type | Meaning |
    |---|---|---|
    | `case_id` | int | number of the stay in `stays`; `stays.stay_ids` has its owner's name for it |
    | `group_id` | int | group of the patient, for whom the whole reward is |
    | `hour` | int | how many hours were seen when it was decided, from 1 |
    | `group_exposure` | float32 (G,) | on the last step 1 at the place of the group, else 0: performance is the mean return |
    | `elapsed` | float | 1, the hour that a step takes |
    | `died` | bool | whether the patient dies in hospital |
    | `escalated` | bool | whether the alarm was raised |

    `reset` gives the first three. Attributes for learners: `group_names`, `performance_scale`.

    ## Starting State

    The first hour of a stay. Stays come in random order, each once in a pass over all of them. `reset(seed=s)` begins the
    sequence of seed s, `reset()` goes on, `reset(options={"case": k})` presents stay k. The k-th stay of a seed is the same
    whatever was decided before.

    ## Episode End

    Termination when the alarm is raised, or after the last hour.

    ## Version History

    v0: first version.

    :param data: the data directory of PhysioNet 2012 set A; None for the environment variable `HOSPITAL_GYM_DATA`;
        `"synthetic"` for made-up stays; or :class:`~hospital_gym.clinical.icu_stays.IcuStays` of one's own
    :param split: `"train"`, `"validation"`, `"test"` (60, 20 and 20 % of the patients) or `"all"`
    :param groups: attributes whose combinations are the groups, as `("sex", "age_band")` or `"unit"`
    :param window: how many hours are seen
    :param observe: `"window"`, `"summary"` or `"both"`
    :param horizon: hours after which it is too late for an alarm
    :param rewards: :class:`~hospital_gym.clinical.early_warning.EscalationRewards`, or some of its values by name
    :param sampling: `"uniform"`, or `"outcome"` to present deaths as often as survivals (that changes what a policy expects)
    :param split_seed: of the split
    :param render_mode: `"rgb_array"` for a picture, `"ansi"` for text, or None
    :raises ValueError: naming the argument, its value and what is accepted
    :raises hospital_gym.clinical.data_directory.MissingDataError: if the data are not there
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # type: ignore[misc]
    performance_scale = 0.05

    def __init__(
        self,
        data: IcuStays | str | os.PathLike[str] | None = None,
        split: Split = "train",
        groups: Sequence[str] | str = GROUPS,
        window: int = HORIZON,
        observe: Observe = "window",
        horizon: int = HORIZON,
        rewards: EscalationRewards | Mapping[str, float] | None = None,
        sampling: str = "uniform",
        split_seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode: got {render_mode!r}, expected one of {self.metadata['render_modes']} or None")
        self.rewards = checked_rewards(rewards)
        self.watch = prepare_watch(data, split, groups, window, observe, horizon, split_seed)
        self.stays, self.group_names = self.watch.stays, self.watch.group_names
        self.weights = outcome_weights(self.watch, sampling)
        self.render_mode = render_mode
        self.observation_space: Any = self.watch.observations.space
        self.action_space = spaces.Discrete(2)
        self._stream: CaseStream | None = None
        self._now = Snapshot(0, 0, False, False)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Present the first hour of the next stay.

        :param seed: begin the sequence of stays of this seed; None goes on with the present one (a random one at first)
        :param options: `{"case": k}` presents stay k of the data, and leaves the sequence as it is
        :return: observation, and `info` with `case_id`, `group_id` and `hour`
        :raises ValueError: if seed, options or the stay are not what they must be
        """
        if options is not None and not (isinstance(options, dict) and set(options) <= {"case"}):
            raise ValueError(f"options: got {options!r}, expected None or {{'case': number}}")
        super().reset(seed=None if seed is None else checked_seed(seed))
        if seed is not None or self._stream is None:
            start = int(self.np_random.integers(2**31)) if seed is None else checked_seed(seed)
            self._stream = CaseStream(len(self.watch), start, self.weights)
        if options and "case" in options:
            position = self._position_of(options["case"])
        else:
            position = int(self._stream.take(1)[0])
        self._now = Snapshot(position, 0, False, True)
        told = self.watch.told(*self._place())
        return self._observation(), {key: values[0].item() for key, values in told.items()}

    def _position_of(self, row: Any) -> int:
        places = np.flatnonzero(self.watch.rows == row)
        if not isinstance(row, (int, np.integer)) or isinstance(row, bool) or not len(places):
            raise ValueError(f"options['case']: got {row!r}, expected the number of one of the {len(self.watch)} stays")
        return int(places[0])

    def _place(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return np.array([self._now.position]), np.array([self._now.hour])

    def _observation(self) -> Observation:
        return {key: values[0] for key, values in self.watch.observations.at(*self._place()).items()}

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Wait or escalate.

        :param action: 0 or 1
        :return: observation of the next hour (when the episode has ended: of the last one seen), reward, terminated,
            truncated (False), info
        :raises ValueError: if it is neither
        :raises RuntimeError: if no decision is due
        """
        try:
            chosen = operator.index(action)
        except TypeError:
            chosen = -1
        if chosen not in (0, 1):
            raise ValueError(f"action: got {action!r}, expected 0 (wait) or 1 (escalate)")
        if not self._now.running:
            raise RuntimeError("step() needs a patient who waits for a decision: call reset() first")
        rewards, ended, columns = self.watch.step(*self._place(), np.array([chosen]), self.rewards)
        over = bool(ended[0])
        self._now = Snapshot(self._now.position, self._now.hour + (not over), chosen == 1, not over)
        info = {key: values[0].copy() if values.ndim > 1 else values[0].item() for key, values in columns.items()}
        return self._observation(), float(rewards[0]), over, False, info

    def snapshot(self) -> Snapshot:
        """This moment, for planning. A plan made by going on from here looks into the record of this very patient, which no
        doctor can: it tests planners, it is no early warning."""
        return self._now

    def restore(self, snapshot: Snapshot) -> Observation:
        """Go back to a snapshot of this environment, or of one with the same data and split; what follows is identical.

        :param snapshot: what :meth:`snapshot` returned
        :return: the observation at that moment
        """
        self._now = snapshot
        return self._observation()

    def render(self) -> npt.NDArray[np.uint8] | str | None:
        """What was measured so far, and whether the alarm was raised: a picture or text, as `render_mode` says.

        :raises RuntimeError: if no patient was presented
        """
        if self.render_mode is None:
            return None
        if self._stream is None:
            raise RuntimeError("render() needs a patient: call reset() first")
        draw = print_stay if self.render_mode == "ansi" else draw_stay
        return draw(self.watch, self._now.position, self._now.hour, self._now.escalated)
