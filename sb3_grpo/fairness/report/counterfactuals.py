"""What if the hospital had two more beds: the same policy and the same patients, with one thing changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym

from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.records import BED_TYPES
from hospital_gym.scenarios import Scenario
from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.fairness.evaluate import play_numbers
from sb3_grpo.fairness.inference.bands import PairedBands
from sb3_grpo.fairness.players import PolicyLike
from sb3_grpo.fairness.report.findings import CONFIDENCE, compare
from sb3_grpo.fairness.report.sources import Source

_FURTHER_BEDS = {"general": 2, "paediatric": 1, "critical": 1}


@dataclass(frozen=True)
class Lever:
    """What one change of the hospital does under the same policy.

    :param name: the change
    :param change: differences to the hospital as it is, with intervals that hold for all levers together
    """

    name: str
    change: PairedBands


def default_levers(scenario: Scenario) -> dict[str, Scenario]:
    """Small changes of a hospital, one thing at a time, of what it has at all.

    :param scenario: the hospital as it is
    :return: the changed hospital by name of the change
    """
    levers: dict[str, Scenario] = {}
    for place, name in enumerate(BED_TYPES):
        more = _FURTHER_BEDS[name]
        if scenario.beds[place]:
            beds = tuple(n + more * (k == place) for k, n in enumerate(scenario.beds))
            levers[f"+{more} {name} bed{'s' if more > 1 else ''}"] = replace(scenario, beds=beds)
    levers["+1 nurse per shift"] = replace(scenario, nurses=tuple(n + 1 for n in scenario.nurses))
    if scenario.equipment:
        left = scenario.equipment_in_maintenance + 1
        levers["+1 unit of equipment"] = replace(scenario, equipment=scenario.equipment + 1, equipment_in_maintenance=left)
    if scenario.transfer_slots_per_day:
        levers["+25 % transfer slots"] = replace(scenario, transfer_slots_per_day=1.25 * scenario.transfer_slots_per_day)
    if scenario.budget_per_day:
        levers["+25 % budget"] = replace(scenario, budget_per_day=1.25 * scenario.budget_per_day)
    return levers


def paired_counterfactuals(
    policy: PolicyLike,
    scenario: Scenario,
    levers: Mapping[str, Scenario] | None = None,
    *,
    n_episodes: int,
    seed: int,
    n_envs: int = 16,
    deterministic: bool = False,
    group_by: Sequence[str] | None = None,
    arrivals: str | None = None,
    make_env: Callable[..., gym.Env] = HospitalEnv,
    progress: Callable[[str, int], object] | None = None,
) -> dict[str, EpisodeSet]:
    """Play the same policy on the same episodes in hospitals that differ in one thing each.

    Actions are drawn as :func:`sb3_grpo.evaluate_fairness` draws them, each episode's from a stream of its own: in the
    hospital as it is the result would be the same again.

    :param policy: the policy as :func:`sb3_grpo.evaluate_fairness` takes one, unchanged: what it would do once it had learned
        about the change is another question
    :param scenario: the hospital as it is
    :param levers: the changed hospitals by name of the change; default: :func:`default_levers`
    :param n_episodes: as many as the policy itself was evaluated on
    :param seed: the seed of those episodes (of an evaluation its ``episode_seed``)
    :param n_envs: number of environments played side by side
    :param deterministic: whether a model takes its most likely action: as in that evaluation
    :param group_by: as in that evaluation, see :class:`hospital_gym.hospital_env.HospitalEnv`
    :param arrivals: as in that evaluation
    :param make_env: called with ``scenario``, ``arrivals`` and ``group_by``, for environments in wrappers
    :param progress: called with the lever and the number of its finished episodes after each of them
    :return: what happened, by lever; hand it to the report as ``counterfactuals``
    :raises ValueError: if there is no lever, or the policy does not fit
    """
    chosen = default_levers(scenario) if levers is None else dict(levers)
    if not chosen:
        raise ValueError("levers: got none, expected at least one")

    def play(name: str, changed: Scenario) -> EpisodeSet:
        def make() -> gym.Env:
            return make_env(scenario=changed, arrivals=arrivals, group_by=group_by)

        report: Any = None if progress is None else lambda finished, total: progress(name, finished)
        played = play_numbers(policy, name, make, range(n_episodes), seed, deterministic, n_envs, report).episodes
        if played is None:
            raise ValueError(f"levers[{name!r}]: got an environment without patient records, expected a hospital")
        return played

    return {name: play(name, changed) for name, changed in chosen.items()}


def pull(subject: Source, changed: Mapping[str, Source], seed: int) -> list[Lever]:
    """Differences that the levers make, those that help the worst-off group most first.

    :param subject: the policy in the hospital as it is
    :param changed: the same policy in the changed hospitals
    :param seed: seed of the resamples
    :raises ValueError: if a changed hospital was not played on the same patients
    """
    confidence = 1 - (1 - CONFIDENCE) / max(len(changed), 1)  # Bonferroni: all levers together
    levers = []
    for name, source in changed.items():
        change = compare(source, subject, seed, confidence)
        if change is None:
            raise ValueError(
                f"counterfactuals[{name!r}]: demand differs from that of {subject.name!r}, expected the same seed and episodes"
            )
        levers.append(Lever(name, change))
    return sorted(levers, key=lambda lever: -lever.change.worst.value)
