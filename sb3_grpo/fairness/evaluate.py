"""Evaluate policies per group, on the same numbered episodes for all of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_grpo.common.checks import check_whole, is_positive
from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.common.playing import play
from sb3_grpo.fairness.evaluation_data import BENEFIT_RATE, REWARD_PER_EXPOSURE, Evaluation, EvaluationSet, Precision
from sb3_grpo.fairness.evaluation_log import EvaluationLog, reward_totals
from sb3_grpo.fairness.inference.max_t import band, ratio_draws
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.metrics import episode_totals, sufficient_groups
from sb3_grpo.fairness.players import Player, PolicyLike, make_players
from sb3_grpo.fairness.venue import EnvLike, Venue, open_venue

if TYPE_CHECKING:
    from sb3_grpo.fairness.report import FairnessReport

Progress = Callable[[int, int], object]
"""Called with the number of finished episodes and of all episodes, of all policies together."""

_MOST_GROWTH: Final = 4  # times as many episodes from one look at the intervals to the next, at most
_MARGIN: Final = 1.1  # more episodes than the last width seems to call for, so that most evaluations need one more round
_MOST_FACTOR: Final = 20  # default limit of half_width's episodes, in units of n_eval_episodes


def evaluate_fairness(
    policy: PolicyLike | Sequence[PolicyLike] | Mapping[str, PolicyLike],
    env: EnvLike,
    n_eval_episodes: int = 100,
    seed: int = 0,
    deterministic: bool = False,
    half_width: float | None = None,
    most_episodes: int | None = None,
    n_envs: int = 16,
    progress: bool | Progress = True,
    names: str | Sequence[str] | None = None,
    reference: str | None = None,
) -> "FairnessReport":
    """Play policies through numbered episodes and report what each group got.

    Episode k is the same for every policy, however many environments share the work: hospitals are reset to number k of the
    seed, other environments with a seed made from it. So policies are compared on the same patients (common random numbers).
    The seeds lie outside those of training, see :func:`sb3_grpo.common.evaluation.derived_seed`.

    Models draw their actions, as in training, unless told otherwise: among patients whom a policy values nearly alike, always
    serving the slightly preferred group is another policy than sharing. Each episode has its own stream for that. Results do
    not depend on ``n_envs`` but for the rounding of a network's sums.

    :param policy: a model of SB3 or sb3-contrib (masks and recurrent states are handled), the path of a saved one, the name of
        a rule (:data:`hospital_gym.heuristics.HEURISTICS`), anything with ``predict``, a function from observations (n, ...)
        to actions (n, ...), or several of them: a list, or a dict by name
    :param env: id of a registered environment, a function that makes one, an environment, or a VecEnv. The last two are played
        as they are, and are left in the middle of an episode. ``VecNormalize`` normalises what models and functions see, its
        statistics stay as they are, and rewards are raw. Otherwise a model that has ``VecNormalize`` itself uses its own
    :param n_eval_episodes: number of episodes, at least 1
    :param seed: the user's seed, >= 0
    :param deterministic: whether models take their most likely action
    :param half_width: add episodes until no simultaneous 95 % interval of a group rate is wider than twice this. Deciding that
        by looking at the intervals makes them hold a little less often than 95 %; the report says how often was looked
    :param most_episodes: where to stop adding; by default 20 times ``n_eval_episodes``
    :param n_envs: number of environments side by side, where they are made here
    :param progress: whether to show a bar (in a terminal), or a function of the finished and of all episodes
    :param names: names of policies that are not given by name
    :param reference: the policy that differences refer to; by default the first of several
    :return: the report
    :raises ValueError: naming the argument, its value and what is accepted
    """
    from sb3_grpo.fairness.report import FairnessReport

    return FairnessReport(
        evaluate_policies(
            policy,
            env,
            n_eval_episodes,
            seed,
            derived_seed(seed, "report"),
            deterministic=deterministic,
            half_width=half_width,
            most_episodes=most_episodes,
            n_envs=n_envs,
            progress=progress,
            names=names,
            reference=reference,
        ),
        seed=seed,
    )


def evaluate_policies(
    policy: PolicyLike | Sequence[PolicyLike] | Mapping[str, PolicyLike],
    env: EnvLike,
    n_eval_episodes: int,
    seed: int,
    episode_seed: int,
    deterministic: bool = False,
    half_width: float | None = None,
    most_episodes: int | None = None,
    n_envs: int = 16,
    progress: bool | Progress = False,
    names: str | Sequence[str] | None = None,
    reference: str | None = None,
) -> EvaluationSet:
    """As :func:`evaluate_fairness`, without the report and with the seed of the episodes itself.

    :param episode_seed: seed of the episodes
    :return: what every policy did
    """
    limit = _check_numbers(n_eval_episodes, half_width, most_episodes, n_envs)
    with open_venue(env, min(n_envs, n_eval_episodes)) as venue, _shown(progress) as show:
        players = make_players(policy, names, venue, deterministic)
        if reference is not None and reference not in [player.name for player in players]:
            raise ValueError(f"reference: got {reference!r}, expected one of {[player.name for player in players]}")
        logs = [EvaluationLog(venue.group_names, venue.records_patients) for _ in players]
        played, wanted, precision = 0, n_eval_episodes, None
        while played < wanted:
            for place, (player, log) in enumerate(zip(players, logs, strict=True)):
                before = played * (len(players) - place) + wanted * place
                count = _Count(show, before, wanted * len(players))
                _play(player, log, venue, range(played, wanted), episode_seed, count)
            played = wanted
            evaluations = [evaluation_of(player, log) for player, log in zip(players, logs, strict=True)]
            if half_width is not None:
                precision = widest_interval(evaluations, half_width, seed, 1 + (precision.looks if precision else 0), limit)
                wanted = next_number(played, precision)
        has_records = all(evaluation.episodes is not None for evaluation in evaluations)
        return EvaluationSet(
            evaluations=tuple(evaluations),
            reference=reference or (players[0].name if len(players) > 1 else None),
            measure=BENEFIT_RATE if has_records else REWARD_PER_EXPOSURE,
            env=venue.name,
            seed=seed,
            episode_seed=episode_seed,
            deterministic=deterministic,
            scenario=venue.scenario,
            precision=precision,
        )


def _check_numbers(n_eval_episodes: int, half_width: float | None, most_episodes: int | None, n_envs: int) -> int:
    """The largest number of episodes, after all numbers have been checked."""
    limit = _MOST_FACTOR * n_eval_episodes if most_episodes is None else most_episodes
    for key, number, least in (
        ("n_eval_episodes", n_eval_episodes, 1),
        ("n_envs", n_envs, 1),
        ("most_episodes", limit, n_eval_episodes),
    ):
        check_whole(key, number, least)
    if half_width is not None and not is_positive(half_width):
        raise ValueError(f"half_width: got {half_width!r}, expected a number > 0, or None")
    if half_width is None and most_episodes is not None:
        raise ValueError(f"most_episodes: got {most_episodes!r} without half_width, expected None")
    return limit


class _Count:
    """Counts finished episodes for whoever shows progress."""

    def __init__(self, show: Progress | None, before: int, total: int) -> None:
        self.show, self.finished, self.total = show, before, total

    def __call__(self) -> None:
        self.finished += 1
        if self.show is not None:
            self.show(self.finished, self.total)


def _play(player: Player, log: EvaluationLog, venue: Venue, numbers: range, seed: int, count: _Count) -> None:
    envs = venue.envs[: len(numbers)]
    slots: dict[int, int] = {}

    def begin(slot: int, number: int) -> Any:
        slots[number] = slot
        player.begin(slot, seed, number)
        log.begin(number)
        return venue.begin(slot, seed, number)

    def step(number: int, reward: float, info: dict[str, Any], ended: bool) -> None:
        log.step(number, reward, info, ended, lambda: DummyVecEnv([lambda: envs[slots[number]]]))
        if ended:
            count()

    play(player, envs, numbers, begin, step)


def evaluation_of(player: Player, log: EvaluationLog) -> Evaluation:
    """What a player did, of its notes."""
    notes, episodes = log.sorted_episodes(), log.episode_set()
    if episodes is None:
        totals = reward_totals(notes)
    else:
        totals = episode_totals(episodes.records, len(log.group_names), log.numbers)
    return Evaluation(
        name=player.name,
        kind=player.kind,
        algorithm=player.algorithm,
        group_names=log.group_names,
        totals=totals,
        costs=np.array([episode.cost for episode in notes]),
        returns=np.array([episode.total for episode in notes]),
        decisions=np.array([episode.decisions for episode in notes]),
        invalid_actions=np.array([episode.invalid for episode in notes]),
        episodes=episodes,
    )


def play_numbers(
    policy: PolicyLike,
    name: str,
    env: EnvLike,
    numbers: range,
    episode_seed: int,
    deterministic: bool = False,
    n_envs: int = 16,
    progress: Progress | None = None,
) -> Evaluation:
    """Some of the episodes of an evaluation, for whoever shares them among processes; see :func:`joined`.

    :param policy: one policy, as in :func:`evaluate_fairness`
    :param name: what tables call it
    :param env: as in :func:`evaluate_fairness`
    :param numbers: numbers of the episodes, at least one
    :param episode_seed: seed of the episodes
    :param deterministic: whether a model takes its most likely action
    :param n_envs: number of environments side by side, where they are made here
    :param progress: called with the number of finished episodes and of all; what it raises ends the evaluation
    :return: what the policy did
    """
    with open_venue(env, min(n_envs, len(numbers))) as venue:
        (player,) = make_players(policy, name, venue, deterministic)
        log = EvaluationLog(venue.group_names, venue.records_patients)
        _play(player, log, venue, numbers, episode_seed, _Count(progress, 0, len(numbers)))
        return evaluation_of(player, log)


def rate_intervals(evaluation: Evaluation, seed: int, confidence: float = 0.95) -> dict[str, Interval]:
    """Simultaneous intervals of a policy's group rates, whatever the rates measure; groups without a rate are left out.

    :param evaluation: what the policy did
    :param seed: the user's seed
    :param confidence: confidence level
    :return: intervals by group
    """
    totals = evaluation.totals
    chosen = np.flatnonzero(sufficient_groups(totals))
    rng = np.random.default_rng(derived_seed(seed, "bootstrap"))
    draws = ratio_draws(totals.benefit[:, chosen], totals.demand[:, chosen], rng)
    intervals = band(draws, np.eye(len(chosen)), confidence)
    return {evaluation.group_names[group]: interval for group, interval in zip(chosen, intervals, strict=True)}


def widest_interval(evaluations: Sequence[Evaluation], asked: float, seed: int, looks: int, most_episodes: int) -> Precision:
    """How wide the widest interval of a group rate is.

    :param evaluations: what each policy did
    :param asked: half-width that is asked for
    :param seed: the user's seed
    :param looks: how often was looked, this time included
    :param most_episodes: number of episodes at which adding stops
    """
    widths = [
        ((interval.high - interval.low) / 2, evaluation.name, group)
        for evaluation in evaluations
        for group, interval in rate_intervals(evaluation, seed).items()
        if interval.low == interval.low
    ]
    width, policy, group = max(widths, default=(np.nan, "", ""))
    return Precision(asked, float(width), policy, group, looks, most_episodes)


def next_number(played: int, precision: Precision) -> int:
    """How many episodes to play in all, from what the last look says: widths fall as one by the root of their number.

    :param played: number of episodes played
    :param precision: what the last look said
    :return: ``played`` if that is narrow enough or the limit is reached, else more
    """
    if precision.met:
        return played
    ratio = precision.reached / precision.asked
    needed = _MARGIN * played * ratio**2 if np.isfinite(ratio) else np.inf
    return min(precision.most_episodes, max(played + 1, int(min(needed, _MOST_GROWTH * played))))


@contextmanager
def _shown(progress: bool | Progress) -> Iterator[Progress | None]:
    """How progress is shown: a bar in a terminal, the user's function, or not at all."""
    if not isinstance(progress, bool):
        if not callable(progress):
            raise ValueError(f"progress: got {progress!r}, expected True, False or a function of finished and all episodes")
        yield progress
        return
    console = Console(stderr=True)
    if not (progress and console.is_terminal):
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("episodes", total=None)
        yield lambda finished, total: bars.update(task, completed=finished, total=total)
