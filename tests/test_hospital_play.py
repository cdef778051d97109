"""Many hospitals at once play the same episodes as single environments."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from hospital_gym.scenarios import SCENARIOS
from sb3_grpo import GroupRobustPPO
from sb3_grpo.fairness.evaluate import play_numbers
from sb3_grpo.fairness.hospital_play import play_hospitals

SEED = 2**33 + 5
NUMBERS = range(3, 10)


def first_action(observations: np.ndarray) -> np.ndarray:
    """Often an invalid action, so that the triage rule acts."""
    return np.zeros(len(observations), dtype=np.int64)


def small_model() -> GroupRobustPPO:
    return GroupRobustPPO("MaskedMlpPolicy", "Hospital-Rural-v0", seed=0, device="cpu", policy_kwargs={"net_arch": [8]})


@pytest.mark.parametrize(
    "make, deterministic",
    [(lambda: "triage", True), (lambda: first_action, True), (small_model, True), (small_model, False)],
    ids=["rule", "function", "most likely", "drawn"],
)
def test_the_same_as_single_environments(make: Callable[[], Any], deterministic: bool) -> None:
    policy = make()
    found = play_hospitals(policy, "policy", SCENARIOS["Rural"], NUMBERS, SEED, deterministic, n_envs=3)
    env = lambda: gym.make("Hospital-Rural-v0", disable_env_checker=True)  # noqa: E731
    expected = play_numbers(policy, "policy", env, NUMBERS, SEED, deterministic, n_envs=3)
    assert found.episodes is not None and expected.episodes is not None
    for name in expected.episodes.records.dtype.names or ():
        np.testing.assert_array_equal(found.episodes.records[name], expected.episodes.records[name], err_msg=name)
    for key in ("costs", "decisions", "invalid_actions"):
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key), err_msg=key)
    np.testing.assert_allclose(found.returns, expected.returns, rtol=1e-12)
    assert found.episodes.utilisation.keys() == expected.episodes.utilisation.keys()
    for name, hours in expected.episodes.utilisation.items():
        np.testing.assert_array_equal(found.episodes.utilisation[name], hours, err_msg=name)


def test_progress_and_wrong_numbers() -> None:
    seen: list[tuple[int, int]] = []
    play_hospitals("triage", "t", SCENARIOS["Rural"], range(3), SEED, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(ValueError, match="numbers: got range"):
        play_hospitals("triage", "t", SCENARIOS["Rural"], range(0), SEED)
