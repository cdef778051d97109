"""A policy trained on some cases, and what it thinks of others."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.diagnosis_vector_env import DiagnosisVectorEnv
from hospital_gym.clinical.preprocessing import Preprocessing
from sb3_grpo.common.vec_env import from_vector_env
from sb3_grpo.diagnosis.methods import Method, Training
from sb3_grpo.fair_grpo.latent_cases import LatentCases


def algorithm_class(name: str) -> type[OnPolicyAlgorithm]:
    """
    :param name: ``"PPO"``, or the name of an algorithm of this package
    :raises ValueError: if there is none of that name
    """
    import sb3_grpo

    found = PPO if name == "PPO" else getattr(sb3_grpo, name, None)
    if not (isinstance(found, type) and issubclass(found, OnPolicyAlgorithm)):
        raise ValueError(f"algorithm: got {name!r}, expected PPO or an on-policy algorithm of sb3_grpo")
    return found


def train_policy(
    method: Method,
    training: Training,
    table: CaseTable,
    rows: npt.NDArray[np.int64],
    seed: int,
    callback: BaseCallback | None = None,
) -> tuple[OnPolicyAlgorithm, Preprocessing]:
    """
    Train a policy.

    :param method: how
    :param training: how much
    :param table: cases; its groups and sources are those that the method weights
    :param rows: cases to learn from; what is known of missing values comes from them
    :param seed: of everything that is random
    :param callback: called in every step
    :return: the algorithm and the preprocessing of its observations
    """
    n_cases = max(1, training.decisions // method.answers)
    env = DiagnosisVectorEnv(
        n_cases * method.answers,
        table,
        cases=rows,
        sampling=method.sampling or training.sampling,
        wrong_reward=training.wrong_reward,
        answers=method.answers,
    )
    vec_env = from_vector_env(env)
    arguments = dict(method.arguments)
    if "latent_groups" in arguments:
        arguments["latent_groups"] = LatentCases(**arguments["latent_groups"], seed=seed)
    model = algorithm_class(method.algorithm)(
        "MlpPolicy",
        vec_env,
        n_steps=1,
        seed=seed,
        device="cpu",
        policy_kwargs={"net_arch": list(training.net_arch)},
        **{
            "learning_rate": training.learning_rate,
            "batch_size": training.batch_size,
            "n_epochs": training.n_epochs,
            **arguments,
        },
    )
    model.learn(training.updates * vec_env.num_envs, callback=callback)
    return model, env.cases.preprocessing


def action_probabilities(model: OnPolicyAlgorithm, observations: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """
    :param model: a model with discrete actions
    :param observations: (M, D)
    :return: (M, K) probability of each answer
    """
    policy = model.policy
    assert isinstance(policy, ActorCriticPolicy)
    policy.set_training_mode(False)
    with th.no_grad():
        distribution: Any = policy.get_distribution(th.as_tensor(observations, device=policy.device)).distribution
    return np.asarray(distribution.probs.cpu().numpy(), dtype=np.float64)


class StoppableTraining(BaseCallback):
    """
    Ends a training when somebody asks to stop, and says how far it is.

    :param report: called with the number of updates done
    :param stopped: whether to stop
    """

    def __init__(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> None:
        super().__init__()
        self._report, self._stopped, self._updates = report, stopped, 0

    def _on_step(self) -> bool:
        return not self._stopped()

    def _on_rollout_end(self) -> None:
        self._updates += 1
        self._report(self._updates)
