"""Train one model of a study, follow it on validation episodes, and keep its best checkpoint in each mode."""

import copy
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from hospital_gym.registration import register_envs
from sb3_grpo.common.hyperparameters import TrainingSettings
from sb3_grpo.study.protocol import MODES
from sb3_grpo.study.runs import Output
from sb3_grpo.study.tasks.hospital.measure import brief
from sb3_grpo.study.tasks.hospital.places import Place, place_of
from sb3_grpo.study.tasks.hospital.play import played
from sb3_grpo.training import make_model

MODEL_FILES = {mode: f"{mode.replace(' ', '-')}.zip" for mode in MODES}
"""Name of the file of the model that was chosen in a mode."""


def train(config: Mapping[str, Any]) -> Output:
    """Train a model.

    The checkpoint is chosen, in each mode for itself, by what training maximises: (1 - lam) efficiency + lam worst group; with
    ``lam="auto"`` the most efficient among those that meet the target, else the one that misses it least.

    :param config: the run's configuration
    :return: the learning curve and validation numbers, and the models
    """
    register_envs()
    place, changes = place_of(config["place"]), dict(config["changes"])
    settings = TrainingSettings(**config["settings"])
    model = make_model(config["algorithm"], settings, changes, place.env_id, place.env_kwargs, config["training_seed"])
    follow = Follow(place, config["checkpoint_episodes"], config["checkpoints"], settings.n_timesteps, changes)
    model.learn(settings.n_timesteps, callback=[*settings.make_callbacks(), follow])
    follow.look(model)
    lam_end = float(model.current_lam())  # type: ignore[attr-defined]
    validation, files, checkpoints = {}, {}, {}
    for mode, best in follow.best.items():
        model.policy.load_state_dict(best.parameters)
        validation[mode] = brief(played(model, place, config["validation_episodes"], mode))
        files[MODEL_FILES[mode]] = _saved(model)
        checkpoints[mode] = {"steps": best.steps, "score": best.score, "sha256": _hash(best.parameters)}
    env = model.get_env()
    assert env is not None
    env.close()
    result = {
        "steps": model.num_timesteps,
        "lam_end": lam_end,
        "curve": follow.curve,
        "checkpoints": checkpoints,
        "validation": validation,
    }
    return Output(result, leaves=files)


@dataclass
class Best:
    """The best checkpoint in a mode.

    :param score: how good it is on the checkpoint episodes; None if that could not be told
    :param steps: time steps after which it was taken
    :param parameters: the policy's
    """

    score: float | None
    steps: int
    parameters: dict[str, Any]


class Follow(BaseCallback):
    """Play validation episodes now and then between two updates. It draws nothing from global generators, so training goes the
    same way with and without it.

    :param place: where to play
    :param episodes: which episodes, see :func:`~sb3_grpo.study.tasks.hospital.play.played`
    :param looks: how often, the look at the end included
    :param total: time steps of the training
    :param changes: arguments of the algorithm, which say what it maximises
    """

    def __init__(self, place: Place, episodes: Mapping[str, int], looks: int, total: int, changes: Mapping[str, Any]) -> None:
        super().__init__()
        self.place, self.episodes, self.changes = place, episodes, changes
        self.curve: list[dict[str, Any]] = []
        self.best: dict[str, Best] = {}
        self._marks = [total * (k + 1) // looks for k in range(looks - 1)]

    def _on_rollout_start(self) -> None:
        if self._marks and self.num_timesteps >= self._marks[0]:
            self._marks = [mark for mark in self._marks if mark > self.num_timesteps]
            self.look(self.model)

    def _on_step(self) -> bool:
        return True

    def look(self, model: Any) -> None:
        """Play now, and keep the model if it is the best so far."""
        row: dict[str, Any] = {"steps": model.num_timesteps, "lam": float(model.current_lam())}
        for mode in MODES:
            row[mode] = numbers = brief(played(model, self.place, self.episodes, mode))
            score, best = score_of(numbers, self.changes), self.best.get(mode)
            if best is None or best.score is None or (score is not None and score > best.score):
                self.best[mode] = Best(score, model.num_timesteps, copy.deepcopy(model.policy.state_dict()))
        self.curve.append(row)


def score_of(numbers: Mapping[str, Any], changes: Mapping[str, Any]) -> float | None:
    """How good a checkpoint is, see :func:`train`.

    :param numbers: what it does in the checkpoint episodes
    :param changes: arguments of the algorithm
    :return: larger is better; None if no group has a rate
    """
    worst, efficiency, rates = numbers["worst"], numbers["efficiency"], numbers["rates"]
    if worst is None or efficiency is None:
        return None
    lam = changes["lam"]
    if lam != "auto":
        share = float(str(lam).removeprefix("lin_"))
        return (1 - share) * efficiency + share * worst
    least = changes.get("min_benefit")
    least = dict.fromkeys(rates, least) if not isinstance(least, Mapping) else least
    known = {name: rate for name, rate in rates.items() if rate is not None}
    margins = [rate - least[name] for name, rate in known.items() if least.get(name) is not None]
    if changes.get("max_gap") is not None:
        margins.append(changes["max_gap"] - (max(known.values()) - min(known.values())))
    missed = min([*margins, 0.0])
    return efficiency if missed == 0.0 else missed - 1.0  # any miss comes after every efficiency, which exceeds -1


def _hash(parameters: Mapping[str, th.Tensor]) -> str:
    """SHA-256 of a policy's parameters: a saved model also holds when it was made."""
    digest = hashlib.sha256()
    for name, values in sorted(parameters.items()):
        digest.update(name.encode() + values.cpu().numpy().tobytes())
    return digest.hexdigest()


def _saved(model: OnPolicyAlgorithm) -> bytes:
    """The model as a file, without what only training needs."""
    model.policy.optimizer.state.clear()
    buffer = io.BytesIO()
    model.save(buffer, exclude=["_last_obs", "_last_original_obs", "ep_info_buffer", "ep_success_buffer"])
    return buffer.getvalue()
