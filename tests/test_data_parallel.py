"""Two processes with two environments each make the updates of one process with all four."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_grpo.common import data_parallel
from tests import parallel_training
from tests.parallel_training import CASES, N_ENVS, N_PROCESSES, together


@pytest.fixture(scope="module")
def updates(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    answers = together(tmp_path_factory.mktemp("updates"), parallel_training.everything)
    for answer in answers:
        assert isinstance(answer, dict), answer
    return answers


@pytest.fixture
def trainings(updates: list[Any]) -> list[Any]:
    return [update["training"] for update in updates]


def alone(case: str, parts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """One process makes the update from the rollouts of both, whose minibatches it joins."""
    model = CASES[case](N_ENVS * N_PROCESSES)
    model._setup_learn(10_000)
    model.policy.load_state_dict(parts[0]["policy"])
    buffer = model.rollout_buffer
    for name in parts[0]["buffer"]:
        setattr(buffer, name, np.concatenate([part["buffer"][name] for part in parts], axis=1))
    buffer._staged_rewards[:] = buffer._staged_exposure[:] = True
    buffer.pos, buffer.full = buffer.buffer_size, True
    model._update_current_progress_remaining(parts[0]["num_timesteps"], parts[0]["num_timesteps"])
    model._update_group_state(np.ones(buffer.n_envs, dtype=bool))
    orders = iter(zip(*(part["orders"] for part in parts), strict=True))
    share, size = model.batch_size // N_PROCESSES, buffer.buffer_size * N_ENVS

    def joined_permutation(n: int) -> np.ndarray:
        first, second = next(orders)
        pieces = [(first[k : k + share], second[k : k + share] + size) for k in range(0, size, share)]
        return np.concatenate([part for piece in pieces for part in piece])

    monkeypatch.setattr(np.random, "permutation", joined_permutation)
    model.train()
    return model


@pytest.mark.parametrize("case", CASES)
def test_update_is_that_of_one_process(case: str, updates: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [update[case] for update in updates]
    model = alone(case, parts, monkeypatch)
    moved = 0.0
    for name, expected in model.policy.state_dict().items():
        for part in parts:
            np.testing.assert_allclose(part["after"][name], expected, rtol=0, atol=2e-6, err_msg=name)
        moved = max(moved, float((expected - parts[0]["policy"][name]).abs().max()))
    assert moved > 0.01
    for part in parts:
        assert part["num_timesteps"] == 64
        if case != "update of SB3" and case != "lam zero":  # whose log is of each process
            for key, value in part["log"].items():
                if key != "train/explained_variance":
                    assert value == pytest.approx(model.logger.name_to_value[key], rel=1e-4, abs=1e-6), key


@pytest.mark.parametrize("case", CASES)
def test_groups_are_those_of_one_process(case: str, updates: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [update[case] for update in updates]
    model = alone(case, parts, monkeypatch)
    assert model.group_state["performance"]["by_env"].shape[1] == N_ENVS * N_PROCESSES
    for part in parts:
        for key, expected in model.group_state["performance"].items():
            np.testing.assert_array_equal(part["group_state"]["performance"][key], expected, err_msg=key)
        np.testing.assert_array_equal(part["group_state"]["coefficients"], model.group_state["coefficients"])


def test_environments_have_the_seeds_of_one_process(updates: list[Any]) -> None:
    model = CASES["group critic"](N_ENVS * N_PROCESSES)
    expected = model.env.reset()
    got = np.concatenate([update["group critic"]["first observations"] for update in updates])
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(got, axis=0)) == N_ENVS * N_PROCESSES


def test_processes_stay_together(trainings: list[Any]) -> None:
    first, second = trainings
    for expected, got in zip(first["parameters"], second["parameters"], strict=True):
        np.testing.assert_array_equal(got, expected)
    for expected, got in zip(first["statistics"], second["statistics"], strict=True):
        for one, other in zip(expected, got, strict=True):
            np.testing.assert_array_equal(other, one)
    assert first["num_timesteps"] == second["num_timesteps"] == (256, 256)
    # Returns and observations of 4 rollouts of 64 steps, and the observations after the reset
    assert [count for count, *_ in first["statistics"]] == pytest.approx([256, 260], abs=0.01)


def test_training_ends_in_all_processes(trainings: list[Any]) -> None:
    assert [training["stopped"] for training in trainings] == [2, 2]


def test_what_does_not_fit_is_an_error_in_all_processes(trainings: list[Any]) -> None:
    for rank, training in enumerate(trainings):
        divisible, different = training["errors"]
        assert divisible == "`batch_size` must be divisible by the number of processes, 2, got 15"
        assert different.startswith(f"`n_steps` must be the same in all processes, got {8 * (1 + rank)}")
        assert training["recurrent error"].startswith("`target_kl` must be None with several processes, got 0.1")


def test_process_that_dies_ends_the_others(tmp_path: Path) -> None:
    survivor, dead = together(tmp_path, parallel_training.one_dies)
    assert dead is None
    assert "RuntimeError" in survivor


def test_merged_statistics_are_those_of_all_values() -> None:
    """With one process merging changes nothing but rounding."""
    statistics = data_parallel.RunningMeanStd(shape=(2,))
    before = [data_parallel._sums(statistics)]
    values = np.random.default_rng(0).normal(3.0, 2.0, (50, 2))
    statistics.update(values)
    count, mean, variance = statistics.count, statistics.mean.copy(), statistics.var.copy()
    data_parallel.merge_statistics(before, [statistics])
    assert statistics.count == count
    np.testing.assert_allclose(statistics.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(statistics.var, variance, rtol=1e-12)


def test_alone_nothing_is_shared() -> None:
    values = th.arange(3.0)
    assert (data_parallel.n_processes(), data_parallel.rank(), data_parallel.of_all("x")) == (1, 0, ["x"])
    assert data_parallel.total(values) is values
    mean, deviation = data_parallel.mean_and_deviation(data_parallel.moments(values))
    assert (float(mean), float(deviation)) == (1.0, 1.0)
    with data_parallel.joined():
        assert data_parallel.n_processes() == 1
