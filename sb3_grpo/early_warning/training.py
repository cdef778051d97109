"""One training, and what its policy says of validation and test patients at every hour."""

import copy
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.policies import ActorCriticPolicy

from hospital_gym.clinical.early_warning import ESCALATE, WAIT, EscalationRewards, Watch, all_observations, prepare_watch
from hospital_gym.clinical.early_warning_vector_env import EarlyWarningVectorEnv
from hospital_gym.clinical.icu_stays import SPLITS, IcuStays
from sb3_grpo.common.files import replacing
from sb3_grpo.common.vec_env import from_vector_env
from sb3_grpo.early_warning.alarms import expected_return
from sb3_grpo.early_warning.methods import Policy, Training
from sb3_grpo.group_relative_ppo import GroupRelativePPO

FloatArray = npt.NDArray[np.float64]

DISTANCE: Final = "group/advantage_distance"
"""Under this key the algorithm logs the mean of abs(A_i - A_g) in deviations of A_i."""

_PATIENTS: Final = 64  # so many are judged at a time: bounds the memory


@dataclass(frozen=True)
class Trained:
    """
    What a training found.

    :param validation: (N, H) probability that the policy escalates in each hour, of validation patients
    :param test: the same of test patients
    :param returns: by number of updates: mean return on validation patients; the policy kept is the best of them
    :param distance: by update: mean of abs(A_i - A_g), in deviations of A_i; empty if groups have no part
    """

    validation: FloatArray
    test: FloatArray
    returns: Mapping[int, float]
    distance: tuple[float, ...]


def train_policy(
    policy: Policy,
    training: Training,
    stays: IcuStays,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Trained | None:
    """
    Train a policy on training patients, keep the one that validation patients are best served by, and ask it about test
    patients. The rewards are the environment's own.

    :param policy: what is trained
    :param training: how
    :param stays: all stays; every one must be watched for the same number of hours
    :param seed: of everything that is random
    :param report: called with the number of updates done
    :param stopped: whether to stop
    :return: what was found; None if it was stopped
    """
    seen: dict[str, Any] = {"window": policy.window, "observe": policy.observe}
    watches = {part: prepare_watch(stays, part, **seen) for part in SPLITS[1:]}
    rewards = EscalationRewards()
    env = EarlyWarningVectorEnv(
        training.n_envs, stays, "train", sampling=training.sampling, rewards=_rebalanced(rewards, stays, training), **seen
    )
    model = _make_model(policy, training, env, seed)
    log = _Column(DISTANCE)
    model.set_logger(Logger(None, [log]))
    choice = _BestOnValidation(watches["validation"], training, rewards, report, stopped)
    model.learn(training.updates * training.n_envs * training.n_steps, callback=choice)
    if stopped():
        return None
    choice.look()
    assert choice.best is not None
    model.policy.load_state_dict(choice.best)
    validation, test = (escalation_probabilities(model.policy, watch) for watch in watches.values())
    return Trained(validation, test, choice.returns, tuple(log.values))


def _rebalanced(rewards: EscalationRewards, stays: IcuStays, training: Training) -> dict[str, float]:
    """With deaths presented as often as survivals, a false alarm must cost more for the trade-off to stay."""
    died = prepare_watch(stays, "train", window=1, observe="summary").died
    odds = (~died).sum() / died.sum() if training.sampling == "outcome" else 1.0
    return {**asdict(rewards), "false_alarm": rewards.false_alarm * float(odds)}


def _make_model(policy: Policy, training: Training, env: EarlyWarningVectorEnv, seed: int) -> GroupRelativePPO:
    extractor: dict[str, Any] = {}
    if policy.extractor is not None:
        module, name = policy.extractor.split(":")
        extractor = {
            "features_extractor_class": getattr(importlib.import_module(module), name),
            "features_extractor_kwargs": dict(policy.extractor_arguments),
        }
    model = GroupRelativePPO(
        "MultiInputPolicy",
        from_vector_env(env),
        n_steps=training.n_steps,
        batch_size=training.batch_size,
        n_epochs=training.n_epochs,
        learning_rate=lambda remaining: training.learning_rate * remaining,
        gamma=1.0,
        gae_lambda=training.gae_lambda,
        seed=seed,
        device="cpu",
        policy_kwargs={
            "net_arch": {"pi": list(policy.actor), "vf": list(policy.critic)},
            "optimizer_class": th.optim.AdamW,
            "optimizer_kwargs": {"weight_decay": training.weight_decay},
            **extractor,
        },
        **policy.arguments,
    )
    with th.no_grad():
        bias: Any = model.policy.action_net.bias
        bias[WAIT], bias[ESCALATE] = training.waiting, 0.0
    return model


def escalation_probabilities(policy: ActorCriticPolicy, watch: Watch) -> FloatArray:
    """
    :param policy: the policy
    :param watch: N patients, each watched for H hours
    :return: (N, H) probability of escalating in each hour, by what was seen until then
    """
    policy.set_training_mode(False)
    n_hours = int(watch.hours.min())
    found = []
    for start in range(0, len(watch), _PATIENTS):
        positions = np.arange(start, min(start + _PATIENTS, len(watch)))
        seen = all_observations(watch, positions, n_hours)
        with th.no_grad():
            distribution: Any = policy.get_distribution({key: th.as_tensor(values) for key, values in seen.items()})
        found.append(distribution.distribution.probs[:, ESCALATE].numpy().reshape(len(positions), n_hours))
    return np.concatenate(found).astype(np.float64)


class _Column(KVWriter):
    """Keeps what is logged under one key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.values: list[float] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        if self.key in key_values:
            self.values.append(float(key_values[self.key]))

    def close(self) -> None:
        pass


class _BestOnValidation(BaseCallback):
    """Looks at the validation patients before every so many updates, and keeps the best policy."""

    def __init__(
        self,
        watch: Watch,
        training: Training,
        rewards: EscalationRewards,
        report: Callable[[int], None],
        stopped: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._watch, self._training, self._rewards = watch, training, rewards
        self._report, self._stopped, self._updates = report, stopped, 0
        self.returns: dict[int, float] = {}
        self.best: dict[str, th.Tensor] | None = None

    def _on_step(self) -> bool:
        return not self._stopped()

    def _on_rollout_end(self) -> None:
        if self._updates and self._updates % self._training.every == 0:
            self.look()
        self._updates += 1
        self._report(self._updates)

    def look(self) -> None:
        """Judge the policy as it is now."""
        policy: Any = self.model.policy
        worth = expected_return(escalation_probabilities(policy, self._watch), self._watch.died, self._rewards)
        if worth > max(self.returns.values(), default=-np.inf):
            self.best = copy.deepcopy(policy.state_dict())
        self.returns[self._updates] = worth


def save_trained(path: Path, settings: Mapping[str, Any], trained: Trained) -> None:
    """
    Keep a result, at once or not at all.

    :param path: where
    :param settings: everything it depends on, as JSON can hold it
    :param trained: the result
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"settings": settings, "returns": dict(trained.returns), "distance": trained.distance}
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, validation=trained.validation, test=trained.test, facts=np.array(json.dumps(facts)))


def read_trained(path: Path, settings: Mapping[str, Any]) -> Trained | None:
    """
    :param path: a file of :func:`save_trained`
    :param settings: everything the result would depend on
    :return: the result; None if the file is not there, not whole, or another training's
    """
    try:
        with path.open("rb") as file, np.load(file) as kept:
            facts = json.loads(str(kept["facts"]))
            if facts["settings"] != json.loads(json.dumps(settings)):
                return None
            returns = {int(updates): worth for updates, worth in facts["returns"].items()}
            return Trained(kept["validation"], kept["test"], returns, tuple(facts["distance"]))
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
