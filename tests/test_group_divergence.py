"""Divergence between the policies of groups, by hand and against finite differences; the policy that knows the group."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution

from sb3_grpo import GroupAssignment
from sb3_grpo.group_relative_ppo import (
    GroupConditionedPolicy,
    GroupObservation,
    divergence_from_groups,
    pairwise_divergence,
    with_group,
)
from sb3_grpo.group_relative_ppo.relative_algorithm import divergence_penalty
from tests.toy_envs import DictEnv, SharedEnv

BOX = spaces.Box(np.array([-1, -1, -1], np.float32), np.array([1, 1, 1], np.float32))  # two numbers and one of two groups
DICT = spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "group_id": spaces.Box(-1, 2, (1,))})


def categorical(*probabilities: float) -> CategoricalDistribution:
    return CategoricalDistribution(len(probabilities)).proba_distribution(th.tensor([probabilities]).log())


def gaussian(mean: float, deviation: float) -> DiagGaussianDistribution:
    return DiagGaussianDistribution(1).proba_distribution(th.tensor([[mean]]), th.tensor([deviation]).log())


def policy(space: spaces.Space[Any], actions: spaces.Space[Any], seed: int = 0, **kwargs: Any) -> GroupConditionedPolicy:
    """With random group-specific layers, as after training."""
    th.manual_seed(seed)
    made = GroupConditionedPolicy(space, actions, lambda _: 1e-3, net_arch=[4], **kwargs)
    with th.no_grad():
        for parameter in made.action_net.parameters():
            parameter.copy_(th.randn_like(parameter))
    return made


# -- By hand ---------------------------------------------------------------------------------------------------------------


def test_categorical_from_the_mixture() -> None:
    """pi = (0.8, 0.2) against 0.25 (0.8, 0.2) + 0.75 (0.4, 0.6) = (0.5, 0.5): 0.8 ln 1.6 + 0.2 ln 0.4 = 0.19274."""
    first, second = categorical(0.8, 0.2), categorical(0.4, 0.6)
    got = divergence_from_groups(first, [first, second], th.tensor([0.25, 0.75]))
    assert got.item() == pytest.approx(0.8 * np.log(1.6) + 0.2 * np.log(0.4), abs=1e-6)
    assert got.item() == pytest.approx(0.19274, abs=1e-5)


def test_group_without_share_has_no_part_in_the_mixture() -> None:
    first, second = categorical(0.8, 0.2), categorical(0.4, 0.6)
    assert divergence_from_groups(first, [first, second], th.tensor([1.0, 0.0])).item() == pytest.approx(0.0, abs=1e-6)


def test_gaussian_from_all_groups() -> None:
    """KL(N(0, 1) || N(1, 2)) = ln 2 + (1 + 1) / 8 - 1/2 = 0.44315, and 0 from itself."""
    first, second = gaussian(0.0, 1.0), gaussian(1.0, 2.0)
    got = divergence_from_groups(first, [first, second], th.tensor([0.25, 0.75]))
    assert got.item() == pytest.approx(0.75 * (np.log(2) + 0.25 - 0.5), abs=1e-6)


def test_pairs() -> None:
    got = pairwise_divergence([categorical(0.8, 0.2), categorical(0.5, 0.5)])
    expected = [[0, 0.8 * np.log(1.6) + 0.2 * np.log(0.4)], [0.5 * np.log(0.625) + 0.5 * np.log(2.5), 0]]
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("actions", [spaces.Discrete(3), spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([2, 3])], ids=str)
def test_gradient_of_the_penalty_is_that_of_finite_differences(actions: spaces.Space[Any]) -> None:
    """With the policies of all groups held constant, as they are in the loss."""
    model = policy(BOX, actions).double()
    # SB3 makes single precision of observations
    model.features_extractor.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    obs = th.tensor([[0.3, -0.2, 0.0], [-0.5, 0.9, 1.0], [0.1, 0.1, 0.0]], dtype=th.float64)
    shares = th.tensor([0.3, 0.7], dtype=th.float64)
    with th.no_grad():
        references = model.distributions_by_group(obs)

    def value() -> th.Tensor:
        return divergence_from_groups(model.get_distribution(obs), references, shares).mean()

    model.get_distribution(obs)
    divergence_penalty(model, shares)(obs).mean().backward()
    weights = [model.action_net.shared.weight, model.action_net.branches, model.mlp_extractor.trunk.policy_net[0].weight]
    for parameter in weights:
        with th.no_grad():
            flat, place = parameter.view(-1), 1
            before = flat[place].item()
            flat[place] = before + 1e-6
            above = value().item()
            flat[place] = before - 1e-6
            below = value().item()
            flat[place] = before
        assert parameter.grad is not None
        slope = parameter.grad.view(-1)[place].item()
        assert abs(slope) > 1e-6
        assert slope == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-9)


# -- The policy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["branch", "bias"])
@pytest.mark.parametrize("actions", [spaces.Discrete(3), spaces.Box(-1, 1, (2,)), spaces.MultiBinary(2)], ids=str)
def test_group_changes_the_policy_and_unseen_groups_get_the_shared_head(actions: spaces.Space[Any], head: str) -> None:
    model = policy(BOX, actions, group_head=head)

    def output(group: float) -> th.Tensor:
        distribution = model.get_distribution(th.tensor([[0.3, -0.2, group]])).distribution
        assert isinstance(distribution, (th.distributions.Normal, th.distributions.Categorical, th.distributions.Bernoulli))
        return distribution.mean if isinstance(distribution, th.distributions.Normal) else distribution.logits

    assert not th.allclose(output(0), output(1))
    for unseen in (-1.0, 2.0, 7.0, 0.5):
        th.testing.assert_close(output(unseen), output(-1.0))
    assert not th.allclose(output(-1.0), output(0))
    shared = model.action_net.shared(model.mlp_extractor(model.extract_features(th.tensor([[0.3, -0.2, -1.0]])))[0][:, :-2])
    expected = shared - shared.logsumexp(1) if isinstance(actions, spaces.Discrete) else shared
    th.testing.assert_close(output(-1.0), expected)


def test_dict_observations_and_predict() -> None:
    model = policy(DICT, spaces.Discrete(3))
    assert model.n_conditions == 3
    x = np.array([0.3, 0.1], np.float32)
    with th.no_grad():
        model.action_net.biases[:] = 20 * th.eye(3)
        model.action_net.branches.zero_()
    for group in range(3):
        assert model.predict(with_group({"x": x}, group), deterministic=True)[0] == group


def test_discrete_key_of_a_dict() -> None:
    space = spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "who": spaces.Discrete(4)})
    model = policy(space, spaces.Discrete(2), group_key="who")
    assert model.n_conditions == 4
    each = model.distributions_by_group({"x": th.zeros(1, 2), "who": th.tensor([0])})
    assert len({tuple(d.distribution.logits.flatten().tolist()) for d in each}) == 4  # type: ignore[union-attr]


def test_groups_of_a_new_policy_are_treated_alike() -> None:
    model = GroupConditionedPolicy(BOX, spaces.Discrete(3), lambda _: 1e-3)
    assert not pairwise_divergence(model.distributions_by_group(th.rand(5, 3))).any()
    values = model.predict_values(th.tensor([[0.1, 0.2, 0.0], [0.1, 0.2, 1.0]]))
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("space", "kwargs", "words"),
    [
        (spaces.Box(-1, 1, (3, 2)), {}, "expected a flat Box or a Dict"),
        (spaces.Box(-np.inf, np.inf, (3,)), {}, "upper limit is the highest group id"),
        (spaces.Box(-1, 0.5, (3,)), {}, "upper limit is the highest group id"),
        (BOX, dict(group_index=3), "`group_index` must be an entry of the 3"),
        (DICT, dict(group_key="who"), "`group_key` must be a key of the Dict"),
        (spaces.Dict({"group_id": spaces.Box(-1, 1, (2,))}), {}, "the key 'group_id'"),
        (BOX, dict(group_head="trunk"), "`group_head` must be 'branch' or 'bias'"),
        (BOX, dict(use_sde=True), "`use_sde` must be False"),
    ],
)
def test_policy_says_what_it_cannot_use(space: spaces.Space[Any], kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GroupConditionedPolicy(space, spaces.Discrete(2), lambda _: 1e-3, **kwargs)


# -- The group in the observation ------------------------------------------------------------------------------------------


def by_episode(observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
    return episode % 2


@pytest.mark.parametrize("wrap", [SharedEnv, lambda: DictEnv(SharedEnv())], ids=["Box", "Dict"])
def test_group_observation(wrap: Any) -> None:
    env = GroupObservation(GroupAssignment(wrap(), by_episode, group_names=("even", "odd")))
    for episode in range(3):
        observation, _ = env.reset(seed=episode)
        group = observation["group_id"][0] if isinstance(observation, dict) else observation[-1]
        assert group == episode % 2
        assert env.observation_space.contains(env.step(0)[0])
        assert env.observation_space.contains(observation)


def test_other_observations_become_a_dict() -> None:
    env = GroupObservation(GroupAssignment(gym.make("FrozenLake-v1"), by_episode, group_names=("even", "odd")))
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"observation", "group_id"}
    assert env.observation_space.contains(observation)


def test_group_observation_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="`group_names` must be given"):
        GroupObservation(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match=r"info\['group_id'\] of the reset is missing"):
        GroupObservation(SharedEnv()).reset(seed=0)
    per_step = GroupAssignment(SharedEnv(), lambda o, a, i, e: int(o[0] > 0), group_names=("left", "right"))
    env = GroupObservation(per_step)
    env.reset(seed=0)
    per_step._group_id = 1 - per_step._group_id
    with pytest.raises(ValueError, match="in an episode of group"):
        env.step(0)
