"""The fusion network: what it must not read, what it computes, how it trains, and whether its gate is of use."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

import sb3_grpo
from callbacks import GateMonitorCallback
from sb3_grpo import GroupRelativePPO, GroupRobustMaskablePPO, GroupRobustPPO, GroupRobustRecurrentPPO
from sb3_grpo.common.model_files import load_model
from sb3_grpo.group_relative_ppo import GroupObservation
from sb3_grpo.time_series import TimeSeriesFusionExtractor, fusion_extractor, gate_use, read_layout
from sb3_grpo.time_series.attention import AttentionFromNow
from sb3_grpo.time_series.encoders import ENCODERS, CnnEncoder
from sb3_grpo.time_series.rows import carried_forward
from tests.patient_series import CHANNELS, WINDOW, PatientEnv, patients, series_space, tensors

ENCODER_NAMES = tuple(ENCODERS)
SMALL_NETWORK: dict[str, Any] = dict(modality_dim=4, static_dim=3)
NETWORK: dict[str, Any] = dict(
    net_arch=[8], features_extractor_class=TimeSeriesFusionExtractor, features_extractor_kwargs=SMALL_NETWORK
)
SMALL: dict[str, Any] = dict(n_steps=8, batch_size=16, n_epochs=2, seed=0, device="cpu")


def extractor(encoder: str = "lstm", space: spaces.Dict | None = None, **kwargs: Any) -> TimeSeriesFusionExtractor:
    th.manual_seed(0)
    made = TimeSeriesFusionExtractor(space or series_space(), encoder, **{**SMALL_NETWORK, **kwargs})
    with th.no_grad():  # nothing at the value that hides it
        for parameter in made.parameters():
            parameter.add_(0.1 * th.randn(parameter.shape))
    return made


# -- What is never read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
@pytest.mark.parametrize("grad", [False, True])
@given(seed=st.integers(0, 1000), noise=st.sampled_from([1.0, 1e30, np.nan, np.inf]))
@settings(max_examples=10, deadline=None)
def test_padding_and_unmeasured_values_change_no_bit(encoder: str, grad: bool, seed: int, noise: float) -> None:
    network, observations = extractor(encoder), patients(5, seed)
    rng = np.random.default_rng(seed)
    noisy = dict(observations)
    for key in CHANNELS:
        mask = f"{key}_observed"
        hidden = (observations[mask] == 0) | (observations["hours"] == 0)[:, :, None]
        noisy[key] = np.where(hidden, noise * rng.standard_normal(hidden.shape), observations[key]).astype(np.float32)
        # What a mask says of padding means nothing either
        padded = np.broadcast_to((observations["hours"] == 0)[:, :, None], hidden.shape)
        noisy[mask] = np.where(padded, rng.integers(2, size=hidden.shape), observations[mask]).astype(np.float32)
    with th.set_grad_enabled(grad):
        clean, other = network.read(tensors(observations)), network.read(tensors(noisy))
        assert th.equal(network(tensors(observations)), network(tensors(noisy)))
    assert all(th.equal(one, two) for one, two in zip(clean, other, strict=True))
    assert th.isfinite(clean.features).all()


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
def test_more_padding_changes_nothing(encoder: str) -> None:
    """The state of a recurrent network does not move, and convolutions see nothing, before the stay begins."""
    short, long = extractor(encoder, series_space(WINDOW)), extractor(encoder, series_space(WINDOW + 5))
    observations = patients(8)
    padded = {
        key: part if key == "static" else np.concatenate([np.ones_like(part[:, :5]) * (key != "hours"), part], axis=1)
        for key, part in observations.items()
    }
    one, two = short.read(tensors(observations)), long.read(tensors(padded))
    th.testing.assert_close(one.features, two.features)
    th.testing.assert_close(one.attention, two.attention[..., 5:])
    assert not two.attention[..., :5].any()


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
@pytest.mark.parametrize("absent", ["chemistry", "everything", "the whole window"])
def test_a_missing_modality_is_a_constant_without_nan(encoder: str, absent: str) -> None:
    network, observations = extractor(encoder), patients(3, stay=4)
    keys = ["chemistry"] if absent == "chemistry" else list(CHANNELS)
    for key in keys:
        (observations["hours"] if absent == "the whole window" else observations[f"{key}_observed"])[1] = 0.0
        observations[key][1] = np.nan
    reading = network.read(tensors(observations))
    parts = dict(zip(network.parts, reading.fused.split(list(network.parts.values()), dim=1), strict=True))
    for place, key in enumerate(CHANNELS):
        missing = key in keys
        assert th.equal(parts[key][1], network.missing[key]) == missing
        th.testing.assert_close(reading.attention[1, place].sum(dim=-1), th.full((2,), 0.0 if missing else 1.0))
    with th.autograd.set_detect_anomaly(True):
        reading.features.square().sum().backward()
    assert all(parameter.grad is not None and th.isfinite(parameter.grad).all() for parameter in network.parameters())
    # The other patients are as if they were alone
    th.testing.assert_close(reading.features[2:], network(tensors({key: of[2:] for key, of in observations.items()})))


def test_every_measured_value_counts() -> None:
    """What is not hidden has a gradient, in every modality and hour, and static entries have one too."""
    network, observations = extractor(), tensors(patients(4))
    read = {key: part.clone().requires_grad_() for key, part in observations.items()}
    network(read).sin().sum().backward()
    for key in CHANNELS:
        found, measured = read[key].grad, observations[f"{key}_observed"] == 1
        assert found is not None and found[measured].all() and not found[~measured].any()
    found = read["static"].grad
    assert found is not None and found.all()


# -- What is computed -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("encoder", ENCODER_NAMES)
def test_it_is_the_last_row_of_causal_self_attention_over_measured_rows(encoder: str, carry: bool) -> None:
    """Written out for one patient whose window is full: encoder, self-attention of all rows, gate."""
    network, observations = extractor(encoder, carry_forward=carry), tensors(patients(1, stay=WINDOW))
    reading, parts = network.read(observations), []
    causal = th.triu(th.ones(WINDOW, WINDOW, dtype=th.bool), diagonal=1)
    clock = th.arange(WINDOW).reshape(1, WINDOW, 1) / 24
    for place, (key, module) in enumerate(network.attentions.items()):
        assert isinstance(module, AttentionFromNow)
        known = observations[f"{key}_observed"]
        values = observations[key].clone()
        for hour in range(1, WINDOW) if carry else ():
            values[:, hour] = th.where(known[:, hour] == 1, values[:, hour], values[:, hour - 1])
        states = network.encoders[key](th.cat([values, known, clock], dim=2).transpose(0, 1))
        unread = ~known.any(dim=2)
        found, weights = module.attention(
            states, states, states, key_padding_mask=unread, attn_mask=causal, average_attn_weights=False
        )
        parts.append((states + found)[-1])
        th.testing.assert_close(reading.attention[:, place], weights[:, :, -1])
        assert not reading.attention[:, place].sum(dim=1)[unread].any()
    assert network.static_net is not None
    parts.append(th.tanh(network.static_net[0](observations["static"])))
    fused = th.cat(parts, dim=1)
    gate = 1 / (1 + th.exp(-(fused @ network.gate.weight.T + network.gate.bias)))
    th.testing.assert_close(reading.fused, fused)
    th.testing.assert_close(reading.gate, gate)
    th.testing.assert_close(network(observations), gate * fused)


def test_carried_forward_by_hand() -> None:
    values, measured = th.tensor([[0.0, 5.0], [2.0, 0.0], [0.0, 0.0], [3.0, 0.0]]), th.tensor([[0, 1], [1, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(carried_forward(values, measured.bool()), [[0, 5], [2, 5], [2, 5], [3, 0]])


def test_convolutions_by_hand() -> None:
    """One input, one feature, kernels (w2, w1, w0): relu of relu."""
    encoder = CnnEncoder(1, 1)
    with th.no_grad():
        weights = ([1.0, 2.0, 3.0], [0.5, -1.0, 1.0])
        for layer, weight, bias in zip((encoder.first, encoder.second), weights, (1.0, -2.0), strict=True):
            assert layer.bias is not None
            layer.weight.copy_(th.tensor(weight).reshape(1, 1, 3))
            layer.bias.fill_(bias)
    # first layer: 3 x_t + 2 x_(t-1) + x_(t-2) + 1; second: h_t - h_(t-1) + h_(t-2) / 2 - 2, nothing before the first row
    np.testing.assert_allclose(encoder(th.tensor([1.0, 0.0, 2.0, -9.0]).reshape(4, 1, 1)).flatten().detach(), [2, 0, 5, 0])


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
def test_gradients_are_finite_differences(encoder: str) -> None:
    network = extractor(encoder).double()
    observations = {key: part.double() for key, part in tensors(patients(2, stay=3)).items()}

    def features(*values: th.Tensor) -> th.Tensor:
        return network({**observations, **dict(zip(CHANNELS, values, strict=True))})

    assert th.autograd.gradcheck(features, tuple(observations[key].requires_grad_() for key in CHANNELS))


def test_without_hours_or_static_parts() -> None:
    observations = patients(3, stay=WINDOW)
    with_hours = extractor(space=series_space(static=False))
    without = extractor(space=series_space(static=False, hours=False))
    del observations["static"]
    del_hours = {key: part for key, part in observations.items() if key != "hours"}
    assert th.equal(with_hours(tensors(observations)), without(tensors(del_hours)))
    assert list(without.parts) == list(CHANNELS) and without.static_net is None


def test_layout() -> None:
    space = spaces.Dict({**series_space().spaces, "ward": spaces.Discrete(4)})
    layout = read_layout(space)
    assert (layout.window, layout.modalities, layout.has_hours) == (WINDOW, CHANNELS, True)
    assert layout.static == {"static": 2, "ward": 4} and layout.n_static == 6


BOX = spaces.Box(0, 1, (WINDOW, 2), np.float32)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(0, 1, (3,)), "expected a Dict with a Box"),
        (spaces.Dict({"static": spaces.Box(0, 1, (3,))}), "expected at least one Box"),
        (spaces.Dict({"vitals": BOX}), "no such key for 'vitals_observed'"),
        (spaces.Dict({"vitals": BOX, "vitals_observed": spaces.Box(0, 1, (WINDOW, 3))}), "for 'vitals_observed', expected a"),
        (spaces.Dict({"a": BOX, "a_observed": BOX, "b": spaces.Box(0, 1, (3, 2))}), "expected the same number of rows"),
        (spaces.Dict({"a": BOX, "a_observed": BOX, "hours": spaces.Box(0, 1, (2,))}), "for 'hours', expected a Box of shape"),
        (spaces.Dict({"a": BOX, "a_observed": BOX, "scan": spaces.Box(0, 1, (3, 8, 8))}), "for 'scan', expected a flat space"),
    ],
)
def test_spaces_that_are_no_series(space: spaces.Space, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_layout(space)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(encoder="gru"), r"`encoder` must be one of \('lstm', 'cnn'\), got 'gru'"),
        (dict(modality_dim=5), "`modality_dim` must be a multiple of `n_heads`, 2, got 5"),
        (dict(static_dim=0), "static_dim: got 0, expected a whole number >= 1"),
    ],
)
def test_arguments_that_do_not_fit(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extractor(**kwargs)


@pytest.mark.parametrize("name", ["static", "values", "blood.gas"])
def test_names_that_torch_has_taken(name: str) -> None:
    with pytest.raises(ValueError, match=rf"got modalities named \['{name}'\]"):
        extractor(space=spaces.Dict({name: BOX, f"{name}_observed": BOX}))


# -- In algorithms ----------------------------------------------------------------------------------------------------------


def venv(n_envs: int = 2, grouped: bool = False, **kwargs: Any) -> Any:
    def make() -> gym.Env:
        env = PatientEnv(**kwargs)
        return GroupObservation(env) if grouped else env

    return make_vec_env(make, n_envs=n_envs, seed=0)


@pytest.mark.filterwarnings("ignore:Your observation .* has an unconventional shape")
def test_the_toy_is_an_environment() -> None:
    check_env(PatientEnv(), skip_render_check=True)


CASES: dict[str, tuple[Any, str, bool, dict[str, Any]]] = {
    "PPO": (PPO, "MultiInputPolicy", False, {}),
    "GroupRobustPPO": (GroupRobustPPO, "MultiInputPolicy", False, dict(lam=0.5)),
    "lam=0": (GroupRobustPPO, "MultiInputPolicy", False, dict(lam=0.0, group_critic=False)),
    "GroupRobustMaskablePPO": (GroupRobustMaskablePPO, "MultiInputPolicy", False, dict(lam=0.5)),
    "GroupRobustRecurrentPPO": (GroupRobustRecurrentPPO, "MultiInputLstmPolicy", False, dict(lam=0.5)),
    "GroupRelativePPO": (GroupRelativePPO, "MultiInputPolicy", False, {}),
    "GroupConditionedPolicy": (GroupRelativePPO, "GroupConditionedPolicy", True, dict(group_kl=0.01)),
}


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:You are using a model with different precision")
def test_learns_saves_and_loads(case: str, share: bool, tmp_path: Any) -> None:
    algorithm, policy, grouped, kwargs = CASES[case]
    network = {**NETWORK, "share_features_extractor": share}
    env = venv(grouped=grouped)
    model = algorithm(policy, env, policy_kwargs=network, **SMALL, **kwargs)
    fused = fusion_extractor(model.policy)
    before = {name: parameter.detach().clone() for name, parameter in fused.named_parameters()}
    model.learn(32, callback=GateMonitorCallback())
    assert all(not th.equal(before[name], parameter) for name, parameter in fused.named_parameters() if "missing" not in name)
    model.save(tmp_path / "model.zip")
    loaded = load_model(tmp_path / "model.zip") if algorithm is not PPO else PPO.load(tmp_path / "model.zip")
    assert isinstance(fusion_extractor(loaded.policy), TimeSeriesFusionExtractor)
    observations = env.reset()
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0], loaded.predict(observations, deterministic=True)[0]
    )
    for one, two in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(one, two)


def test_it_learns_what_only_the_first_hour_shows() -> None:
    """The vital sign that decides is measured once and must be remembered: who forgets it gets 1 + 5 / 2 of 6 in the mean."""
    env = venv(16, hidden=True, length=6)
    kwargs: dict[str, Any] = dict(policy_kwargs=NETWORK, seed=0, device="cpu", learning_rate=1e-2)
    model = PPO("MultiInputPolicy", env, n_steps=12, batch_size=96, n_epochs=8, **kwargs).learn(2304)
    returns = evaluate_policy(model, venv(16, hidden=True, length=6), n_eval_episodes=80)[0]
    assert isinstance(returns, float) and returns > 5.5


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
def test_without_groups_it_is_ppo_to_the_last_bit(encoder: str) -> None:
    network = {**NETWORK, "features_extractor_kwargs": {**SMALL_NETWORK, "encoder": encoder}}
    plain = PPO("MultiInputPolicy", venv(), policy_kwargs=network, **SMALL).learn(32)
    ours = GroupRobustPPO("MultiInputPolicy", venv(), lam=0.0, group_critic=False, policy_kwargs=network, **SMALL).learn(32)
    for one, two in zip(plain.policy.parameters(), ours.policy.parameters(), strict=True):
        assert th.equal(one, two)


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
def test_early_warning(encoder: str) -> None:
    env = sb3_grpo.make_vec_env("EarlyWarning-ICU-v0", 4, seed=0, env_kwargs=dict(data="synthetic", window=12))
    network = {**NETWORK, "features_extractor_kwargs": {**SMALL_NETWORK, "encoder": encoder}}
    model = GroupRelativePPO("MultiInputPolicy", env, policy_kwargs=network, **SMALL).learn(64, callback=GateMonitorCallback())
    assert list(fusion_extractor(model.policy).parts)[-1] == "static"
    assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())


def test_normalised_masks_are_refused() -> None:
    model = PPO("MultiInputPolicy", VecNormalize(venv()), policy_kwargs=NETWORK, **SMALL)
    with pytest.raises(ValueError, match=r"got a mask '\*_observed' with entries that are neither 0 nor 1, as VecNormalize"):
        model.learn(16)
    normalised = VecNormalize(venv(), norm_obs_keys=["vitals", "static"])
    PPO("MultiInputPolicy", normalised, policy_kwargs=NETWORK, **SMALL).learn(16)


# -- The gate ---------------------------------------------------------------------------------------------------------------


def test_use_of_a_gate_by_hand() -> None:
    use = gate_use(np.array([[0.2, 0.4, 0.9], [0.4, 0.4, 0.7]]), [2, 1])
    np.testing.assert_allclose(use.levels, [0.35, 0.8])
    assert use.spread == pytest.approx(np.sqrt((0.3**2 + 0.1**2 + 0.4**2 + 0.1**2 + 0.1**2 + 0.2**2) / 6))
    assert use.response == pytest.approx(0.2 / 3)
    assert use.collapse() is None and not use.closed().any() and list(use.closed(0.5)) == [True, False]


@pytest.mark.parametrize(
    ("gate", "collapse"),
    [
        (np.full((4, 3), 0.5), "uniform"),
        (np.full((4, 3), 1.0), "uniform"),  # always open is no gate either
        (np.full((4, 3), 0.0), "closed"),
        (np.array([[0.01, 0.02, 0.049]] * 4), "closed"),
        (np.array([[0.01, 0.02, 0.3]] * 4), None),  # one part lives
        (np.array([[0.4, 0.5, 0.6]] * 4), None),  # the same for all patients, but it weighs the features
        (np.array([[0.49] * 3, [0.51] * 3]), None),
        (np.array([[0.499] * 3, [0.501] * 3]), "uniform"),
    ],
)
def test_collapse(gate: np.ndarray, collapse: str | None) -> None:
    assert gate_use(gate, [2, 1]).collapse() == collapse == gate_use(th.as_tensor(gate), [2, 1]).collapse()


@pytest.mark.parametrize("gate", [np.zeros((0, 3)), np.zeros(3), np.zeros((2, 4))])
def test_gates_that_do_not_fit(gate: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected \(n, 3\) with n of at least 1"):
        gate_use(gate, [2, 1])


@pytest.mark.parametrize(
    ("bias", "collapse", "words"), [(-9.0, "closed", "switches every part off"), (0.0, "uniform", "0.500")]
)
def test_callback_tells_a_collapse(bias: float, collapse: str, words: str, tmp_path: Any) -> None:
    model = PPO("MultiInputPolicy", venv(), learning_rate=0.0, policy_kwargs=NETWORK, **SMALL)
    logged: list[dict[str, Any]] = []

    class Keep(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            logged.append(dict(self.logger.name_to_value))

    callback = GateMonitorCallback()
    model.learn(16, callback=[callback, Keep()])
    assert logged[-1]["gate/collapsed"] == 0.0 and logged[-1]["gate/closed"] == 0
    assert {"gate/vitals", "gate/chemistry", "gate/static", "gate/spread", "gate/response"} < set(logged[-1])
    gate = fusion_extractor(model.policy).gate
    with th.no_grad():
        gate.weight.zero_()
        gate.bias.fill_(bias)
    with pytest.warns(UserWarning, match=f"The gate has collapsed after .* steps. It .*{words}") as told:
        model.learn(48, callback=[callback, Keep()], reset_num_timesteps=False)
    assert len(told) == 1  # for three rollouts
    assert [values["gate/collapsed"] for values in logged[-3:]] == [1.0] * 3
    assert logged[-1]["gate/closed"] == (3 if collapse == "closed" else 0)


def test_callback_needs_a_gate() -> None:
    with pytest.raises(
        ValueError, match="got a MultiInputActorCriticPolicy with CombinedExtractor, expected one trained with"
    ):
        PPO("MultiInputPolicy", venv(), **SMALL).learn(16, callback=GateMonitorCallback())
    with pytest.raises(ValueError, match="closed_below: got 2, expected a number between 0 and 1"):
        GateMonitorCallback(closed_below=2)
