"""The progress callback reports what was done and stops when asked."""

import pytest
from stable_baselines3 import PPO

from callbacks.progress import ProgressCallback


def make_model() -> PPO:
    return PPO(
        "MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, n_epochs=1, policy_kwargs={"net_arch": [4]}, device="cpu"
    )


def test_reports_first_last_and_no_more_often_than_asked() -> None:
    seen: list[int] = []
    make_model().learn(96, callback=ProgressCallback(seen.append, every=40))
    assert seen == [0, 40, 80, 96]


def test_goes_on_counting_when_training_goes_on() -> None:
    seen: list[int] = []
    model, callback = make_model(), ProgressCallback(seen.append, every=1000)
    model.learn(32, callback=callback)
    model.learn(32, callback=callback, reset_num_timesteps=False)
    assert seen == [0, 32, 32, 64]


def test_stops_when_asked() -> None:
    seen: list[int] = []
    model = make_model()
    model.learn(10_000, callback=ProgressCallback(seen.append, stop=lambda: len(seen) >= 3, every=10))
    assert seen == [0, 10, 20]
    assert model.num_timesteps == 20


def test_a_step_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="every: got 0, expected at least 1"):
        ProgressCallback(print, every=0)
