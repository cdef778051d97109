"""Play numbered episodes in many hospitals at once, in one compiled call a step: an evaluation some five times as fast."""

from collections.abc import Callable

import numpy as np

from hospital_gym.hospital_vector_env import HospitalVectorEnv
from hospital_gym.scenarios import Scenario
from sb3_grpo.fairness.evaluate import evaluation_of
from sb3_grpo.fairness.evaluation_data import Evaluation
from sb3_grpo.fairness.evaluation_log import EvaluationLog
from sb3_grpo.fairness.players import PolicyLike, make_players
from sb3_grpo.fairness.venue import Venue

SIDE_BY_SIDE = 250
"""Default number of hospitals: beyond it the network's sums gain nothing."""


def play_hospitals(
    policy: PolicyLike,
    name: str,
    scenario: Scenario,
    numbers: range,
    episode_seed: int,
    deterministic: bool = False,
    n_envs: int = SIDE_BY_SIDE,
    progress: Callable[[int, int], object] | None = None,
) -> Evaluation:
    """As :func:`sb3_grpo.fairness.evaluate.play_numbers`, with the same results but for the rounding of a network's sums.

    Hospital i plays the episodes i, i + n, i + 2n, ... of those asked for.

    :param policy: one policy, as in :func:`sb3_grpo.fairness.evaluate.evaluate_fairness`
    :param name: what tables call it
    :param scenario: the hospital
    :param numbers: consecutive numbers of the episodes, at least one
    :param episode_seed: seed of the episodes
    :param deterministic: whether a model takes its most likely action
    :param n_envs: number of hospitals side by side
    :param progress: called with the number of finished episodes and of all; what it raises ends the evaluation
    :return: what the policy did
    :raises ValueError: if no episode is asked for, or the policy does not fit the hospital
    """
    if len(numbers) < 1 or numbers.step != 1:
        raise ValueError(f"numbers: got {numbers!r}, expected consecutive numbers, at least one")
    n = min(n_envs, len(numbers))
    env = HospitalVectorEnv(n, scenario, episode_stride=n)
    try:
        venue = Venue(list(env.envs), env.group_names, scenario.name, None, False, False)
        (player,) = make_players(policy, name, venue, deterministic)
        log = EvaluationLog(env.group_names, True)
        playing = np.array(numbers[:n])  # number of the episode in each hospital
        options = [{"episode": int(number)} for number in playing]
        observations, _ = env.reset(seed=[episode_seed] * n, options=options)
        for slot in range(n):
            player.begin(slot, episode_seed, int(playing[slot]))
        decisions, invalid, totals = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n)
        starts, state, finished = np.ones(n, dtype=np.bool_), None, 0
        while finished < len(numbers):
            # Who has played all episodes goes on with others, so that the batch keeps its shape; they are not noted.
            masks = env.action_masks()
            actions, state = player.predict(observations, state=state, episode_start=starts, action_masks=masks)
            observations, rewards, _, starts, infos = env.step(actions)
            decisions += 1
            invalid += infos["invalid_action"]
            totals += rewards
            for slot in np.flatnonzero(starts).tolist():
                number, final = int(playing[slot]), infos["final_info"]
                last = {key: final[key][slot] for key in ("episode_records", "episode_cost")}
                last["episode_utilisation"] = {key: row[slot] for key, row in _columns(final["episode_utilisation"])}
                if number in numbers:
                    n_invalid = int(invalid[slot]) + int(final["invalid_action"][slot])
                    log.whole(number, int(decisions[slot]), n_invalid, float(totals[slot]), last)
                    finished += 1
                    if progress is not None:
                        progress(finished, len(numbers))
                playing[slot] += n
                player.begin(slot, episode_seed, int(playing[slot]))
                decisions[slot], invalid[slot], totals[slot] = 0, 0, 0.0
        return evaluation_of(player, log)
    finally:
        env.close()


def _columns(told: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """What a vector environment tells by name, without who tells it."""
    return [(key, values) for key, values in told.items() if not key.startswith("_")]
