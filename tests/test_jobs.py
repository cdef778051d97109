"""Training runs as a worker process does them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_grpo import GroupRobustPPO
from sb3_grpo.cli.jobs import TrainJob, environment_seeds
from sb3_grpo.common.hyperparameters import TrainingSettings
from tests.toy_envs import SharedEnv

N_ENVS = 16


class Recorder(SharedEnv):
    """Tells with which seeds it was reset.

    :param seeds: list to add them to
    """

    def __init__(self, seeds: list[int]):
        super().__init__(length=3)
        self.seeds = seeds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is not None:
            self.seeds.append(seed)
        return super().reset(seed=seed, options=options)


@dataclass(frozen=True)
class ToyHospital:
    """What a job asks of a hospital.

    :param seeds: seeds of all resets
    """

    seeds: list[int]

    def make_env(self) -> gym.Env:
        return Recorder(self.seeds)


def train(seed: int, path: Path, normalize: dict[str, Any] | None = None) -> tuple[list[int], BaseAlgorithm]:
    """Seeds of the environments in training, and the model."""
    algorithm = dict(n_steps=8, batch_size=64, n_epochs=1, policy_kwargs=dict(net_arch=[8]))
    settings = TrainingSettings(128, N_ENVS, "MlpPolicy", normalize, algorithm)
    hospital = ToyHospital([])
    TrainJob(hospital, settings, {}, 128, seed, path).run(lambda steps: None, lambda: False)  # type: ignore[arg-type]
    return hospital.seeds, GroupRobustPPO.load(path, device="cpu")


@pytest.mark.parametrize("normalize", [None, dict(norm_obs=False)])
def test_training_seeds_share_no_environment_seed(normalize: dict[str, Any] | None, tmp_path: Path) -> None:
    seeds = [train(seed, tmp_path / "model.zip", normalize)[0] for seed in (0, 1)]
    assert seeds == [environment_seeds(seed, N_ENVS) for seed in (0, 1)]
    assert len({*seeds[0], *seeds[1]}) == 2 * N_ENVS
    assert all(type(seed) is int and 0 <= seed < 2**32 for seed in (*seeds[0], *seeds[1]))


def test_the_same_seed_trains_the_same_model(tmp_path: Path) -> None:
    first, again, other = (train(seed, tmp_path / "model.zip") for seed in (3, 3, 4))
    assert first[0] == again[0] != other[0]
    weights = [model.policy.state_dict() for _, model in (first, again, other)]
    assert all(weight.equal(weights[1][name]) for name, weight in weights[0].items())
    assert not all(weight.equal(weights[2][name]) for name, weight in weights[0].items())


def test_environment_seeds_of_many_runs_are_distinct() -> None:
    """Drawn, so not certain for all seeds (two of 1600 agree with probability 3e-4), but the same for ever."""
    seeds = [seed for run in range(100) for seed in environment_seeds(run, N_ENVS)]
    assert len(set(seeds)) == len(seeds)
    assert environment_seeds(0, 2) == [2968811710, 3677149159]  # of the documented hash of numpy's SeedSequence
