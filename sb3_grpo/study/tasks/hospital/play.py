"""Play the test episodes of a study, with a trained model or a rule."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sb3_grpo.fairness.evaluation_data import Evaluation
from sb3_grpo.fairness.hospital_play import play_hospitals
from sb3_grpo.fairness.players import PolicyLike
from sb3_grpo.study.protocol import MOST_LIKELY
from sb3_grpo.study.runs import Output
from sb3_grpo.study.tasks.hospital.measure import brief, measured, packed
from sb3_grpo.study.tasks.hospital.places import Place, place_of

ARRAYS: Final = "episodes.npz"
RULE: Final = "rule"
"""Mode of a rule, which always acts the same."""


def played(policy: PolicyLike, place: Place, episodes: Mapping[str, int], mode: str) -> Evaluation:
    """What a policy does in some episodes.

    :param policy: model, path of one, or name of a rule
    :param place: the hospital
    :param episodes: their ``seed``, the number of the ``first`` and how many there are, ``n``
    :param mode: how a model acts
    """
    numbers = range(episodes["first"], episodes["first"] + episodes["n"])
    return play_hospitals(policy, "policy", place.scenario, numbers, episodes["seed"], deterministic=mode == MOST_LIKELY)


def test(config: Mapping[str, Any], models: Mapping[str, bytes]) -> Output:
    """The test episodes of a trained model, in each mode asked for with the checkpoint that was chosen in that mode.

    :param config: the run's configuration
    :param models: the saved models by mode
    """
    results: dict[str, Any] = {}
    sums: dict[str, Any] = {}
    for mode in config["modes"]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.zip"
            path.write_bytes(models[mode])
            evaluation = played(path, place_of(config["place"]), config["episodes"], mode)
        results[mode], sums[mode] = measured(evaluation)
    return Output({"test": results}, _arrays(config, sums))


def play_rule(config: Mapping[str, Any]) -> Output:
    """The episodes of a rule; validation episodes in brief."""
    evaluation = played(config["rule"], place_of(config["place"]), config["episodes"], MOST_LIKELY)
    if config["phase"] == "validation":
        return Output({"validation": brief(evaluation)})
    numbers, sums = measured(evaluation)
    return Output({"test": numbers}, _arrays(config, {RULE: sums}))


def _arrays(config: Mapping[str, Any], sums: Mapping[str, Any]) -> dict[str, bytes]:
    """Sums by episode, for statistics; in changed hospitals the numbers are enough."""
    return {} if "elsewhere" in config else {ARRAYS: packed(sums)}
