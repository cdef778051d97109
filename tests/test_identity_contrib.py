"""With constant lam=0 and a scalar critic, the maskable and the recurrent algorithm are their parents, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_grpo import GroupRobustMaskablePPO, GroupRobustRecurrentPPO
from tests.contrib_models import masked_envs
from tests.small_models import shared
from tests.test_identity import assert_same, dict_with_groups, pendulum

PARENTS: dict[type, type[OnPolicyAlgorithm]] = {
    GroupRobustMaskablePPO: MaskablePPO,
    GroupRobustRecurrentPPO: RecurrentPPO,
}


def masked_dicts() -> VecEnv:
    return masked_envs(dicts=True)


def masked_normalised() -> VecEnv:
    return VecNormalize(masked_envs(n_envs=4))


def plain_normalised() -> VecEnv:
    return VecNormalize(shared(n_envs=4))


OPTIONS: dict[str, Any] = dict(clip_range_vf=0.2, target_kl=0.005, ent_coef=0.01, learning_rate=lambda left: 1e-2 * left)
CASES: dict[str, tuple[type, Callable[..., VecEnv], dict[str, Any]]] = {
    "maskable": (GroupRobustMaskablePPO, masked_envs, {}),
    "maskable: Dict": (GroupRobustMaskablePPO, masked_dicts, dict(policy="MultiInputPolicy")),
    "maskable: VecNormalize, every option": (GroupRobustMaskablePPO, masked_normalised, OPTIONS),
    "maskable: odd last minibatch": (GroupRobustMaskablePPO, masked_envs, dict(batch_size=25)),
    "maskable: no standardisation": (GroupRobustMaskablePPO, masked_envs, dict(normalize_advantage=False)),
    "recurrent": (GroupRobustRecurrentPPO, shared, {}),
    "recurrent: Dict": (GroupRobustRecurrentPPO, dict_with_groups, dict(policy="MultiInputLstmPolicy")),
    "recurrent: VecNormalize, every option": (GroupRobustRecurrentPPO, plain_normalised, OPTIONS),
    "recurrent: continuous, odd last minibatch": (GroupRobustRecurrentPPO, pendulum, dict(batch_size=45)),
    "recurrent: no standardisation": (GroupRobustRecurrentPPO, shared, dict(normalize_advantage=False)),
}


def trained(algorithm: type[OnPolicyAlgorithm], make_env: Callable[..., VecEnv], **kwargs: Any) -> Any:
    recurrent = issubclass(algorithm, RecurrentPPO)
    network = dict(net_arch=[8], lstm_hidden_size=8) if recurrent else dict(net_arch=[16])
    settings: dict[str, Any] = dict(
        policy="MlpLstmPolicy" if recurrent else "MlpPolicy", n_steps=32, batch_size=16, n_epochs=2
    )
    settings = {**settings, "policy_kwargs": network, "seed": 7, "device": "cpu", **kwargs}
    return algorithm(settings.pop("policy"), make_env(), **settings).learn(total_timesteps=settings.pop("n_steps") * 7)


@pytest.mark.parametrize("case", CASES)
def test_lam_zero_with_scalar_critic_is_the_parent(case: str) -> None:
    algorithm, make_env, kwargs = CASES[case]
    expected = trained(PARENTS[algorithm], make_env, **kwargs)
    assert_same(expected, trained(algorithm, make_env, lam=0, group_critic=False, **kwargs))


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith(("able", "recurrent", "option", "Dict"))])
def test_weights_of_one_change_nothing(case: str) -> None:
    algorithm, make_env, kwargs = CASES[case]

    class EqualWeights(algorithm):  # type: ignore[valid-type,misc]
        def group_weights(self) -> np.ndarray | None:
            weights = super().group_weights()
            return None if weights is None else np.ones_like(weights)

    expected = trained(PARENTS[algorithm], make_env, **kwargs)
    assert_same(expected, trained(EqualWeights, make_env, lam=0.5, group_critic=False, fast=False, **kwargs))


@pytest.mark.parametrize("case", ["maskable", "recurrent"])
@pytest.mark.parametrize("group_critic", [False, True])
def test_lam_above_zero_differs(case: str, group_critic: bool) -> None:
    algorithm, make_env, kwargs = CASES[case]
    zero, half = (trained(algorithm, make_env, lam=lam, group_critic=group_critic, **kwargs) for lam in (0, 0.5))
    pairs = zip(zero.policy.parameters(), half.policy.parameters(), strict=True)
    assert not any(th.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("case", ["maskable", "recurrent"])
@pytest.mark.parametrize("kwargs", [dict(lam=0, group_critic=False), dict(lam=0.5, group_critic=False), dict(lam=0.5)])
def test_last_minibatch_of_one_sample(case: str, kwargs: dict[str, Any]) -> None:
    """64 samples in minibatches of 21 leave one. Its standard deviation is not a number; the parents use it nevertheless."""
    algorithm, make_env, _ = CASES[case]
    model = trained(algorithm, make_env, batch_size=21, **kwargs)
    assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())


@pytest.mark.filterwarnings(r"ignore:std\(\). degrees of freedom is <= 0")
@pytest.mark.parametrize("case", ["maskable", "recurrent"])
def test_parents_fail_on_a_last_minibatch_of_one_sample(case: str) -> None:
    """If this fails, the parents were mended, and the exception in our documentation can go."""
    algorithm, make_env, _ = CASES[case]
    with pytest.raises(ValueError, match="nan"):
        trained(PARENTS[algorithm], make_env, batch_size=21)


@pytest.mark.parametrize("case", ["maskable", "recurrent"])
def test_one_group_with_group_critic_is_the_parent(case: str) -> None:
    """One group weighs 1 whatever lam is. Its values are estimated by the same network, up to rounding in the advantages."""
    algorithm, make_env, kwargs = CASES[case]

    def only_one() -> VecEnv:
        return make_env(names=("all",), keys=())

    expected = trained(PARENTS[algorithm], only_one, **kwargs)
    got = trained(algorithm, only_one, lam=0, group_critic=True, **kwargs)
    for name, value in expected.policy.state_dict().items():
        th.testing.assert_close(got.policy.state_dict()[name], value, rtol=0, atol=1e-4)
