"""On a GPU everything is as on the CPU, up to rounding."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO

from sb3_grpo.common.fast_update import _samples
from sb3_grpo.time_series import embed, explain, gates
from tests.contrib_models import make_maskable, make_recurrent
from tests.patient_series import patients
from tests.small_models import make
from tests.test_fusion_extractor import NETWORK, SMALL, venv

pytestmark = [
    pytest.mark.skipif(not th.cuda.is_available(), reason="no GPU here"),
    pytest.mark.filterwarnings("ignore:You are trying to run"),
]
MAKERS: dict[str, Any] = {"plain": make, "maskable": make_maskable, "recurrent": make_recurrent}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_training(kind: str, lam: float) -> None:
    model = MAKERS[kind](lam=lam, device="cuda").learn(96)
    for parameter in model.policy.parameters():
        assert parameter.is_cuda and bool(th.isfinite(parameter).all())
    assert model.group_state is not None


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("fast", [False, True])
def test_update_is_that_of_the_cpu(kind: str, fast: bool) -> None:
    on_cpu, on_gpu = (MAKERS[kind](lam=0.6, fast=fast, device=device, n_epochs=2) for device in ("cpu", "cuda"))
    for model in (on_cpu, on_gpu):
        _, callback = model._setup_learn(10_000)
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    on_gpu.policy.load_state_dict(on_cpu.policy.state_dict())
    device, on_gpu.group_state = on_gpu.rollout_buffer.device, on_cpu.group_state
    on_gpu.rollout_buffer = deepcopy(on_cpu.rollout_buffer)
    on_gpu.rollout_buffer.device = device
    for model in (on_cpu, on_gpu):
        np.random.seed(0)
        model.train()
    for expected, got in zip(on_cpu.policy.parameters(), on_gpu.policy.parameters(), strict=True):
        th.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-4)


def test_rollout_is_moved_at_once() -> None:
    model: Any = make(lam=0.6, device="cuda")
    _, callback = model._setup_learn(10_000)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    model.rollout_buffer.weight_samples(None)
    lean: Any = model._lean_policy()
    assert all(column is None or column.is_cuda for column in _samples(model.rollout_buffer, lean, clip_values=True))


@pytest.mark.parametrize("encoder", ["lstm", "cnn"])
def test_fusion_of_time_series(encoder: str) -> None:
    network = {**NETWORK, "features_extractor_kwargs": dict(encoder=encoder, modality_dim=4)}
    on_gpu = PPO("MultiInputPolicy", venv(), policy_kwargs=network, **{**SMALL, "device": "cuda"}).learn(32)
    on_cpu = PPO("MultiInputPolicy", venv(), policy_kwargs=network, **SMALL)
    on_cpu.policy.load_state_dict(on_gpu.policy.state_dict())
    observations = patients(5)
    np.testing.assert_allclose(embed(on_gpu, observations), embed(on_cpu, observations), atol=1e-4)
    np.testing.assert_allclose(gates(on_gpu, observations)[0], gates(on_cpu, observations)[0], atol=1e-4)
    one = {key: part[0] for key, part in observations.items()}
    action = explain(on_cpu, one).action
    on_either = [explain(model, one, action=action) for model in (on_gpu, on_cpu)]
    np.testing.assert_allclose(on_either[0].contributions["vitals"], on_either[1].contributions["vitals"], atol=1e-3)
