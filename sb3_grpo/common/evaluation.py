"""Play a policy through numbered episodes and keep what happened to every patient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from sb3_grpo.common.checks import check_whole
from sb3_grpo.common.playing import Policy, play
from sb3_grpo.fairness.metrics import EpisodeTotals, episode_totals

SEED_PURPOSES: Final = ("report", "validation", "bootstrap", "test")
"""What seeds other than training seeds are for: final comparisons, choosing between models, resampling, and the tests of a
study (``sb3-grpo study``), whose episodes nothing else looks at."""

_SEEDS_PER_PURPOSE: Final = 2**32  # Stable-Baselines3 accepts training seeds below this


@dataclass(frozen=True, eq=False)
class EpisodeSet:
    """What happened in E episodes under one policy.

    :param records: one row per patient in order of episode, see :data:`hospital_gym.records.RECORD_DTYPE`
    :param costs: (E,) cost of each episode inside the counted window, in units of reward
    :param decisions: (E,) number of decisions of each episode
    :param invalid_actions: (E,) number of decisions that were invalid and taken by the triage rule instead
    :param group_names: names of the G groups
    :param utilisation: per resource the hours used and available in each episode, (E, 2); empty if the environment does not
        tell (``info["episode_utilisation"]``)
    """

    records: npt.NDArray[Any]
    costs: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.int64]
    invalid_actions: npt.NDArray[np.int64]
    group_names: tuple[str, ...]
    utilisation: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def totals(self) -> EpisodeTotals:
        """Demand, benefit and counted patients by episode and group, each (E, G)."""
        return episode_totals(self.records, len(self.group_names), range(len(self.costs)))


def derived_seed(seed: int, purpose: str) -> int:
    """A seed that no training run can have, the same for everybody who asks for it.

    Stable-Baselines3 trains environment i with seed + i, and seeds of training lie below 2^32; those made here lie above, in
    a range of their own for each purpose. So the patients that an evaluation draws never occurred in training, whatever was
    trained with which seed, and those on which a report rests were not used to choose a model. Recorded arrivals that are
    replayed are the same for every seed: there only what the file does not record about a patient is drawn anew.

    :param seed: the user's seed, >= 0
    :param purpose: one of :data:`SEED_PURPOSES`
    :return: a seed in [2^32 k, 2^32 (k + 1)), k = 1, 2, ... the purpose's place in :data:`SEED_PURPOSES`
    :raises ValueError: if the purpose is unknown or the seed no whole number >= 0
    """
    if purpose not in SEED_PURPOSES:
        raise ValueError(f"purpose: got {purpose!r}, expected one of {SEED_PURPOSES}")
    check_whole("seed", seed, 0)
    place = 1 + SEED_PURPOSES.index(purpose)
    child = np.random.SeedSequence(entropy=seed, spawn_key=(place,))
    return place * _SEEDS_PER_PURPOSE + int(child.generate_state(1, np.uint32)[0])


def evaluate_episodes(
    policy: Policy,
    make_env: Callable[[], gym.Env],
    n_episodes: int,
    seed: int,
    n_envs: int = 16,
    progress: Callable[[int], object] | None = None,
    deterministic: bool = True,
) -> EpisodeSet:
    """Play episodes 0 to ``n_episodes`` - 1 of a seed, each exactly once.

    Episode k has the same patients for every policy and every ``n_envs``. Several environments are played side by side
    only to hand the policy larger batches: each takes the next episode not yet begun. The result is therefore independent
    of ``n_envs``, exactly for the rules in :mod:`hospital_gym.heuristics`, and for a network (which is deterministic here
    unless told otherwise) but for the rounding of its sums, which may depend on the size of the batch.

    :param policy: a model or heuristic; its ``predict`` gets observations (n_envs, ...), the state that it returned last with
        ``episode_start`` saying which episodes are new, and the masks of valid actions if it takes them (see :class:`Policy`)
    :param make_env: makes an environment whose ``reset`` accepts ``options={"episode": k}`` and whose last ``info`` of an
        episode holds ``episode_records`` and ``episode_cost``
    :param n_episodes: number of episodes, at least 1
    :param seed: seed of the episodes; see :func:`derived_seed` for seeds that no training run has
    :param n_envs: number of environments played side by side, at least 1
    :param progress: called with the number of finished episodes after each of them; what it raises ends the evaluation
    :param deterministic: whether the policy takes its most likely action; if not, it draws from torch's global generator
    :return: records and costs in order of episode
    :raises ValueError: if a number is too small or the environment does not number its episodes or record its patients
    """
    for key, number in (("n_episodes", n_episodes), ("n_envs", n_envs)):
        if number < 1:
            raise ValueError(f"{key}: got {number}, expected at least 1")
    n_slots = min(n_envs, n_episodes)
    envs = [make_env() for _ in range(n_slots)]
    try:
        results = _play(policy, envs, n_episodes, seed, progress, deterministic)
        group_names = tuple(envs[0].get_wrapper_attr("group_names"))
    finally:
        for env in envs:
            env.close()
    return collect_episodes(results, group_names)


@dataclass
class PlayedEpisode:
    """One episode while it is played and afterwards; the parameters as in :class:`EpisodeSet`."""

    decisions: int = 0
    invalid: int = 0
    cost: float = 0.0
    records: npt.NDArray[Any] | None = None
    utilisation: dict[str, tuple[float, float]] = field(default_factory=dict)

    def note(self, info: dict[str, Any]) -> None:
        """A step was taken."""
        self.decisions += 1
        self.invalid += bool(info.get("invalid_action", False))

    def note_patients(self, info: dict[str, Any]) -> None:
        """The last step was taken.

        :raises ValueError: if its info has no patients or no cost
        """
        for key in ("episode_records", "episode_cost"):
            if key not in info:
                raise ValueError(f"info[{key!r}]: missing on an episode's last step; the environment must record its patients")
        self.records, self.cost = info["episode_records"], float(info["episode_cost"])
        self.utilisation = info.get("episode_utilisation", {})


def collect_episodes(episodes: Sequence[PlayedEpisode], group_names: tuple[str, ...]) -> EpisodeSet:
    """What happened, of episodes that have ended.

    :param episodes: the episodes, at least one
    :param group_names: names of the groups
    """
    return EpisodeSet(
        records=np.concatenate([episode.records for episode in episodes if episode.records is not None]),
        costs=np.array([episode.cost for episode in episodes]),
        decisions=np.array([episode.decisions for episode in episodes]),
        invalid_actions=np.array([episode.invalid for episode in episodes]),
        group_names=group_names,
        utilisation={
            name: np.array([episode.utilisation[name] for episode in episodes], dtype=np.float64)
            for name in episodes[0].utilisation
        },
    )


def _play(
    policy: Policy,
    envs: list[gym.Env],
    n_episodes: int,
    seed: int,
    progress: Callable[[int], object] | None,
    deterministic: bool,
) -> list[PlayedEpisode]:
    episodes = [PlayedEpisode() for _ in range(n_episodes)]
    n_finished = 0

    def begin(slot: int, number: int) -> npt.NDArray[Any]:
        return begin_numbered(envs[slot], seed, number)

    def step(number: int, reward: float, info: dict[str, Any], ended: bool) -> None:
        nonlocal n_finished
        episodes[number].note(info)
        if ended:
            episodes[number].note_patients(info)
            n_finished += 1
            if progress is not None:
                progress(n_finished)

    play(policy, envs, range(n_episodes), begin, step, deterministic)
    return episodes


def begin_numbered(env: gym.Env, seed: int, number: int) -> npt.NDArray[Any]:
    """Reset an environment that numbers its episodes.

    :param env: the environment
    :param seed: seed of the episodes
    :param number: number of the episode
    :return: its first observation
    :raises ValueError: if the environment does not confirm the number
    """
    observation, info = env.reset(seed=seed, options={"episode": number})
    if info.get("episode") != number:
        raise ValueError(
            f"info['episode']: got {info.get('episode')!r} after a reset to episode {number}, expected that number: the "
            "environment must number its episodes, or policies would not meet the same patients"
        )
    return np.asarray(observation)
