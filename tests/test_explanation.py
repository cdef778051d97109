"""Explanations of single recommendations: contributions add up, what is hidden contributes nothing, and pictures."""

import builtins
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_grpo import GroupRelativePPO, GroupRobustMaskablePPO, GroupRobustRecurrentPPO
from sb3_grpo.time_series import explain, fusion_extractor
from sb3_grpo.time_series.picture import MOST_ROWS, draw_explanation, draw_gate_over_time, gate_by_hour
from tests.patient_series import CHANNELS, N_STATIC, WINDOW, patients
from tests.test_fusion_extractor import ENCODER_NAMES, NETWORK, SMALL, SMALL_NETWORK, venv

NAMES = {"vitals": ["heart rate", "temperature"]}


def model_of(algorithm: Any = PPO, policy: str = "MultiInputPolicy", encoder: str = "lstm", **kwargs: Any) -> Any:
    network = {**NETWORK, "features_extractor_kwargs": {**SMALL_NETWORK, "encoder": encoder}, "ortho_init": False}
    return moved(algorithm(policy, venv(grouped=policy.startswith("Group")), policy_kwargs=network, **SMALL, **kwargs))


def moved(model: BaseAlgorithm) -> BaseAlgorithm:
    """An untrained policy hardly tells anything apart."""
    th.manual_seed(1)
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.5 * th.randn(parameter.shape))
    return model


def one(seed: int = 0, **kwargs: Any) -> dict[str, np.ndarray]:
    return {key: part[0] for key, part in patients(1, seed, **kwargs).items()}


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_contributions_add_up(encoder: str, seed: int) -> None:
    model, observation = model_of(encoder=encoder), one(seed, stay=5)
    found = explain(model, observation)
    everything = [*found.contributions.values(), *found.static_contributions.values()]
    total = sum(float(part.sum()) for part in everything)
    # ReLU has corners, and at corners the integral is less exact
    tolerance = 1e-4 if encoder == "lstm" else 0.02
    assert total == pytest.approx(found.score - found.reference_score, abs=tolerance) and abs(total) > 0.02
    assert found.error == pytest.approx(abs(total - (found.score - found.reference_score)))
    # What the scores are, from the policy itself
    logits = model.policy.get_distribution(model.policy.obs_to_tensor(observation)[0]).distribution.logits[0].detach()
    sign = 1 if found.action == 1 else -1
    assert found.action == int(logits.argmax()) == int(model.predict(observation, deterministic=True)[0])
    assert found.score == pytest.approx(float(sign * (logits[1] - logits[0])), abs=1e-5)
    assert found.probability == pytest.approx(1 / (1 + math.exp(-found.score)), abs=1e-5)
    average = {key: part * 0 if key in ("static", *CHANNELS) else part for key, part in observation.items()}
    assert explain(model, average, action=found.action).score == pytest.approx(found.reference_score, abs=1e-5)


def test_a_linear_score_by_hand() -> None:
    """Where the score is linear, a value contributes its weight times itself, from the other action's view the opposite."""
    model, observation = model_of(), one(stay=5)

    def get_distribution(tensors: dict[str, th.Tensor], **kwargs: Any) -> Any:
        score = 2.0 * tensors["vitals"][:, -1, 0] - 3.0 * tensors["static"][:, 1] + 0.5
        score = score + 0.0 * tensors["chemistry"].sum(dim=(1, 2))
        model.policy.action_dist.proba_distribution(th.stack([th.zeros_like(score), score], dim=1))
        return model.policy.action_dist

    observation["vitals_observed"][-1, 0], observation["vitals"][-1, 0] = 1.0, 1.5
    model.policy.get_distribution = get_distribution
    for action, sign in ((1, 1.0), (0, -1.0)):
        found = explain(model, observation, action=action)
        expected = np.zeros((WINDOW, 2))
        expected[-1, 0] = sign * 2.0 * 1.5
        np.testing.assert_allclose(found.contributions["vitals"], expected, rtol=1e-5)
        np.testing.assert_allclose(
            found.static_contributions["static"], [0.0, sign * -3.0 * observation["static"][1]], rtol=1e-5
        )
        assert not found.contributions["chemistry"].any() and found.reference_score == pytest.approx(sign * 0.5)


def test_what_is_hidden_contributes_nothing() -> None:
    model, observation = model_of(), one(stay=4)
    found = explain(model, observation)
    for key in CHANNELS:
        hidden = observation[f"{key}_observed"] == 0
        assert not found.contributions[key][hidden].any() and found.contributions[key][~hidden].all()
        np.testing.assert_array_equal(np.isnan(found.values[key]), hidden)
        observation[key][hidden] = np.nan
    assert list(found.hours) == [False] * 2 + [True] * 4
    again = explain(model, observation)
    for key in CHANNELS:
        np.testing.assert_array_equal(again.contributions[key], found.contributions[key])
        assert found.attention[key].sum() == pytest.approx(1.0) and not found.attention[key][:2].any()
    with th.no_grad():
        reading = fusion_extractor(model.policy).read(model.policy.obs_to_tensor(one(stay=4))[0])
    sizes = list(fusion_extractor(model.policy).parts.values())
    assert list(found.gate.values()) == pytest.approx([float(part.mean()) for part in reading.gate.split(sizes, dim=1)])


def test_a_patient_of_whom_nothing_is_known() -> None:
    observation = one(stay=WINDOW)
    for key, part in observation.items():
        part[:] = 0.0 if key != "static" else part
    found = explain(model_of(), observation)
    assert found.error < 1e-3 and not any(weights.any() for weights in found.attention.values())


def test_policies_with_masks_and_groups() -> None:
    masked = model_of(GroupRobustMaskablePPO)
    with pytest.raises(ValueError, match=r"got the valid actions \[1\], expected two or more"):
        explain(masked, one(), action_masks=np.array([False, True]))
    assert explain(masked, one(), action_masks=np.array([True, True])) is not None
    grouped = model_of(GroupRelativePPO, "GroupConditionedPolicy")
    found = explain(grouped, {**one(), "group_id": np.array([1.0], np.float32)})
    # The group is no number to be interpolated
    assert list(found.static_contributions) == ["static"] and found.error < 1e-3


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: explain(model_of(), one(), action=2), r"action: got 2, expected one of the valid actions \[0, 1\]"),
        (lambda: explain(model_of(), one(), action_masks=np.ones(2)), "got masks for a MultiInputActorCriticPolicy"),
        (
            lambda: explain(model_of(), {"vitals": np.zeros(2)}),
            r"observation: got \['vitals'\], expected a dict with the keys",
        ),
        (lambda: explain(model_of(), np.zeros(3)), "observation: got ndarray, expected a dict"),  # type: ignore[arg-type]
        (lambda: explain(model_of(), patients(2)), "observation: got several, expected one"),
        (lambda: explain(model_of(), one(), n_steps=0), "n_steps: got 0"),
        (
            lambda: explain(PPO("MultiInputPolicy", venv(), **SMALL), one()),
            "with CombinedExtractor, expected one trained with",
        ),
        (
            lambda: explain(model_of(GroupRobustRecurrentPPO, "MultiInputLstmPolicy"), one()),
            "got a recurrent policy, expected one that decides by the observation alone",
        ),
    ],
)
def test_what_does_not_fit(act: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act()


def test_continuous_actions_have_no_odds() -> None:
    env = venv()
    env.action_space = spaces.Box(-1, 1, (1,))
    model = PPO("MultiInputPolicy", env, policy_kwargs=NETWORK, **SMALL)
    with pytest.raises(ValueError, match=r"got actions Box\(.*\), expected Discrete ones, which have log-odds"):
        explain(model, one())


def test_captum_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("captum"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'sb3-grpo\[clinical\]'"):
        explain(model_of(), one())


# -- Pictures ---------------------------------------------------------------------------------------------------------------


def test_picture_of_a_recommendation(tmp_path: Path) -> None:
    model = model_of()
    for name, observation in (("one", one(stay=4)), ("nothing", {key: part * 0 for key, part in one().items()})):
        path = tmp_path / f"{name}.png"
        found = explain(model, observation)
        draw_explanation(path, found, NAMES, {"static": ["age", "$sex$"]}, ("wait", "escalate"), title="Patient 7")
        assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="channel_names: got 1 names for 'vitals', expected 2"):
        draw_explanation(tmp_path / "no.png", found, {"vitals": ["heart rate"]})
        draw_explanation(tmp_path / "no.png", explain(model, one(stay=4)), {"vitals": ["heart rate"]})
    with pytest.raises(ValueError, match="action_names: got 0, expected a name for the action"):
        draw_explanation(tmp_path / "no.png", found, action_names=())


def test_rows_of_the_picture_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not drawn by name is summed up, so that the bars still add up to the score."""
    from sb3_grpo.time_series import picture

    found = explain(model_of(), one(stay=WINDOW))
    monkeypatch.setattr(picture, "MOST_ROWS", 2)
    rows = picture._rows(found, NAMES, {})
    assert len(rows) == 3 and rows[-1].label == f"{sum(CHANNELS.values()) + N_STATIC - 2} others" and MOST_ROWS == 12
    assert sum(row.total for row in rows) == pytest.approx(found.score - found.reference_score, abs=1e-3)
    assert abs(rows[0].total) >= abs(rows[1].total)


def test_gate_by_hour(tmp_path: Path) -> None:
    gates, hours = np.array([[0.2, 0.4], [0.4, 0.6], [0.9, 0.1]]), np.array([3, 3, 1])
    means, counts, distinct = gate_by_hour(gates, hours)
    np.testing.assert_allclose(means, [[0.9, 0.1], [0.3, 0.5]])
    assert list(counts) == [1, 2] and list(distinct) == [1, 3]
    draw_gate_over_time(tmp_path / "gate.png", gates, hours, ("vitals", "static"), "All patients")
    assert (tmp_path / "gate.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="parts: got 1 names, expected 2"):
        draw_gate_over_time(tmp_path / "gate.png", gates, hours, ("vitals",))
    with pytest.raises(ValueError, match=r"expected \(n, P\) and \(n,\), n at least 1"):
        gate_by_hour(gates, hours[:2])
