"""Clusters of episodes: features, the number of clusters, ids over refits, and what the groups' performance becomes."""

import io
import itertools
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.clusters import Clusters, choose, fit, matched, refit, silhouette
from sb3_grpo.common.episode_features import EpisodeSummary, flat_observations
from sb3_grpo.common.group_buffers import GroupBufferMixin, GroupDictRolloutBuffer, GroupRolloutBuffer
from sb3_grpo.common.group_infos import GroupStep
from sb3_grpo.common.group_performance import PerformanceState, forget_unfinished, initial_performance, update_performance
from sb3_grpo.common.latent_groups import LatentGroups
from tests.small_models import make, shared

SPACE = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def blobs(
    centers: Sequence[Sequence[float]], sizes: Sequence[int], deviation: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features, shuffled, and the blob of each. Blobs are twenty deviations apart in every feature: none overlap."""
    labels = rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = np.array(centers, dtype=float)[labels]
    return points + deviation * rng(seed + 1).standard_normal(points.shape), labels


def filled(
    observations: np.ndarray, rewards: np.ndarray, dones: np.ndarray, ids: np.ndarray | None = None
) -> GroupRolloutBuffer:
    """
    A buffer with one rollout.

    :param observations: (T, N, 2)
    :param rewards: (T, N)
    :param dones: (T, N)
    :param ids: Group ids that environments tell, (T, N)
    """
    n_steps, n_envs = rewards.shape
    buffer = GroupRolloutBuffer(n_steps, SPACE, spaces.Discrete(2), device="cpu", n_envs=n_envs)
    fill(buffer, observations, rewards, dones, ids)
    return buffer


def fill(
    buffer: GroupBufferMixin, observations: Any, rewards: np.ndarray, dones: np.ndarray, ids: np.ndarray | None = None
) -> None:
    n_steps, n_envs = rewards.shape
    nothing = th.zeros(n_envs)
    for step in range(n_steps):
        told = GroupStep(None if ids is None else ids[step], None, None, None)
        buffer.stage(told, dones[step].astype(bool), rewards[step])
        observation = (
            {key: part[step] for key, part in observations.items()} if isinstance(observations, dict) else observations[step]
        )
        buffer.add(observation, np.zeros((n_envs, 1)), rewards[step], np.zeros(n_envs), nothing, nothing)


def short_episodes(
    groups: np.ndarray,
    length: int = 2,
    seed: int = 0,
    ids: np.ndarray | None = None,
    returns: Sequence[float] = (1.0, 3.0, 7.0),
) -> GroupRolloutBuffer:
    """
    One environment, whole episodes. Observations of group g are about (g, g), its reward per step is ``returns[g] / length``.

    :param groups: Group of each episode
    :param ids: Group ids that environments tell, one for each episode
    """
    steps = np.repeat(groups, length)
    # An episode's observations are all the same, or their deviations would be two further features, of noise only
    observations = steps[:, None] + np.repeat(0.05 * rng(seed).standard_normal((len(groups), 2)), length, axis=0)
    rewards = np.array(returns)[steps] / length
    dones = np.arange(len(steps)) % length == length - 1
    told = None if ids is None else np.repeat(ids, length)[:, None]
    return filled(observations[:, None], rewards[:, None], dones[:, None], told)


def relabelled(latent: LatentGroups, buffer: GroupBufferMixin, starts: Sequence[bool] = (True,)) -> np.ndarray:
    latent.relabel(buffer, np.array(starts))
    return buffer.group_ids


# -- Features ----------------------------------------------------------------------------------------------------------


def test_features_by_hand() -> None:
    episode = EpisodeSummary()
    episode.extend(np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([1.0, 2.0]), np.array([-1, -1]))
    np.testing.assert_allclose(episode.features(), [2.0, 5.0, 1.0, 0.0])
    episode.extend(np.array([[5.0, 5.0]]), np.array([4.0]), np.array([-1]))
    np.testing.assert_allclose(episode.features(), [3.0, 5.0, np.sqrt(8 / 3), 0.0])
    assert episode.total == 7.0


@given(seed=st.integers(0, 1000), cuts=st.sets(st.integers(1, 19), max_size=5))
def test_where_an_episode_is_cut_does_not_matter(seed: int, cuts: set[int]) -> None:
    observations, rewards = rng(seed).normal(5.0, 2.0, (20, 3)), rng(seed).normal(size=20)
    whole, parts, own = EpisodeSummary(), EpisodeSummary(), EpisodeSummary()
    ids = np.full(20, -1)
    whole.extend(observations, rewards, ids)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 20], strict=True):
        parts.extend(observations[start:end], rewards[start:end], ids[start:end])
        own.extend(observations[start:end], rewards[start:end], ids[start:end], extremes)
    expected = np.concatenate([observations.mean(axis=0), observations.std(axis=0)])
    np.testing.assert_allclose(whole.features(), expected, rtol=1e-12)
    np.testing.assert_allclose(parts.features(), expected, rtol=1e-12)
    np.testing.assert_array_equal(own.features(extremes), [observations.max(), rewards.sum()])
    assert parts.total == pytest.approx(rewards.sum()) and own.total == parts.total


def extremes(observations: np.ndarray, rewards: np.ndarray) -> list[float]:
    return [observations.max(), rewards.sum()]


def test_constant_entry_is_no_feature() -> None:
    """Rounding of a mean would otherwise look like a deviation, and standardisation would make it as large as any."""
    deviations = set()
    for length in (3, 7, 11, 1000):
        episode = EpisodeSummary()
        for part in np.array_split(np.full((length, 1), 0.1), 3):
            episode.extend(part, np.zeros(len(part)), np.full(len(part), -1))
        deviations.add(float(episode.features()[1]))
    assert deviations == {0.0}


@pytest.mark.parametrize(
    ("pieces", "label"),
    [([[1, 1], [1]], 1), ([[-1, 2], [2]], 2), ([[-1], [-1]], -1), ([[0, 1]], -2), ([[0], [1]], -2), ([[0, 1], [1]], -2)],
)
def test_label_of_an_episode(pieces: list[list[int]], label: int) -> None:
    episode = EpisodeSummary()
    for ids in pieces:
        episode.extend(np.zeros((len(ids), 1)), np.zeros(len(ids)), np.array(ids))
    assert episode.label == label


def test_large_observations_need_features_of_their_own() -> None:
    episode, image = EpisodeSummary(), np.zeros((1, 1001))
    with pytest.raises(
        ValueError, match=r"1001 entries, but LatentGroups summarises at most 1000 by itself: pass `features=`"
    ):
        episode.extend(image, np.zeros(1), np.zeros(1))
    episode.extend(image, np.zeros(1), np.zeros(1), extremes)


def test_flat_observations() -> None:
    image, number = np.arange(24.0).reshape(2, 3, 2, 2), np.arange(6.0).reshape(2, 3)
    assert flat_observations(image).shape == (2, 3, 4)
    flat = flat_observations({"b": image, "a": number})
    assert flat.shape == (2, 3, 5) and list(flat[1, 0]) == [3.0, 12.0, 13.0, 14.0, 15.0]


# -- Clusters ----------------------------------------------------------------------------------------------------------


CENTERS = [[0, 3], [3, 9], [6, 0], [9, 6]]
SIZES = [40, 30, 50, 30]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_number_of_blobs(k: int) -> None:
    features, labels = blobs(CENTERS[:k], SIZES[:k])
    clusters, score = choose(features, 8, 10, 0.5, rng())
    # Numbered by the first feature, as the blobs are
    np.testing.assert_array_equal(clusters.nearest(features), labels)
    assert len(clusters.centers) == k and score > 0.9


def test_scale_of_a_feature_does_not_matter() -> None:
    features, labels = blobs(CENTERS, SIZES)
    features *= [1.0, 1e6]
    np.testing.assert_array_equal(choose(features, 8, 10, 0.5, rng())[0].nearest(features), labels)


@pytest.mark.parametrize("n_features", [2, 3, 8])
def test_one_blob_is_one_cluster(n_features: int) -> None:
    """The highest silhouette of normal data was 0.35 with two features, and lower with more (five draws each)."""
    clusters, score = choose(rng().standard_normal((300, n_features)), 8, 15, 0.5, rng())
    assert len(clusters.centers) == 1 and np.isnan(score)


def test_least_size() -> None:
    """Two large blobs, and five episodes far away from both and from each other's blob."""
    features, _ = blobs([[0, 0], [4, 4], [0, 20]], [60, 60, 5])
    assert len(choose(features, 8, 5, 0.5, rng())[0].centers) == 3
    clusters, _ = choose(features, 8, 6, 0.5, rng())
    assert len(clusters.centers) == 2
    assert np.bincount(clusters.nearest(features)).min() >= 6
    assert len(choose(features, 8, 63, 0.5, rng())[0].centers) == 1


def test_episodes_that_are_all_the_same() -> None:
    clusters, score = choose(np.ones((20, 3)), 8, 1, 0.5, rng())
    assert len(clusters.centers) == 1 and np.isnan(score)
    clusters, score = fit(np.ones((20, 3)), 3, rng())
    assert set(clusters.nearest(np.ones((20, 3)))) == {0} and np.isnan(score)


def test_more_clusters_than_episodes_are_not_tried() -> None:
    assert len(choose(rng().standard_normal((3, 2)), 8, 1, 0.5, rng())[0].centers) <= 2


def test_ids_after_a_refit() -> None:
    features, labels = blobs(CENTERS, SIZES)
    first, _ = fit(features, 4, rng())
    for seed in range(5):
        order = rng(seed).permutation(len(features))
        again, _ = refit(features[order], first, rng(seed))
        np.testing.assert_array_equal(again.nearest(features), labels)
    # Everything moves by the distance between blobs, in six steps
    moved, clusters = features, first
    for _ in range(6):
        moved = moved + 0.5
        clusters, score = refit(moved, clusters, rng())
    np.testing.assert_array_equal(clusters.nearest(moved), labels)
    assert score > 0.9


def test_cluster_without_episodes_keeps_its_centre() -> None:
    features, labels = blobs(CENTERS, SIZES)
    first, _ = fit(features, 4, rng())
    again, _ = refit(features[labels != 1], first, rng())
    np.testing.assert_allclose(again.centers[1], first.centers[1])
    np.testing.assert_array_equal(again.nearest(features), labels)


def test_matching_goes_by_shared_episodes_then_by_centres() -> None:
    features = np.array([[0.0], [0.1], [1.0], [1.1], [2.0]])
    old = Clusters(np.array([[0.0], [1.0], [2.0], [9.0]]), np.ones(1))
    new = Clusters(np.array([[50.0], [2.0], [0.0], [1.0]]), np.ones(1))
    np.testing.assert_array_equal(matched(features, old, new).centers.ravel(), [0.0, 1.0, 2.0, 50.0])
    # Nobody is near centres 2 and 3 of either: the closest go together
    old = Clusters(np.array([[0.0], [1.0], [20.0], [30.0]]), np.ones(1))
    new = Clusters(np.array([[31.0], [0.0], [1.0], [22.0]]), np.ones(1))
    np.testing.assert_array_equal(matched(features[:4], old, new).centers.ravel(), [0.0, 1.0, 22.0, 31.0])


def test_silhouette_by_hand() -> None:
    """Pairs at distance 1, ten apart: a = 1, b = 10.5 or 9.5."""
    features = np.array([[0.0], [1.0], [10.0], [11.0]])
    clusters = Clusters(np.array([[0.5], [10.5]]), np.ones(1))
    assert silhouette(features, clusters, rng()) == pytest.approx((2 * (1 - 1 / 10.5) + 2 * (1 - 1 / 9.5)) / 4)
    assert np.isnan(silhouette(features[:2], clusters, rng()))


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    features, _ = blobs(CENTERS[:2], [20, 20])
    clusters, _ = choose(features, 4, 1, 0.5, rng())
    refit(features, clusters, rng())
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


# -- Relabelling -------------------------------------------------------------------------------------------------------


def test_no_groups_before_enough_episodes() -> None:
    latent = LatentGroups(n_groups=2, min_episodes=10)
    groups = np.tile([0, 1], 4)
    assert (relabelled(latent, short_episodes(groups)) == -1).all()
    assert latent.log() == {"group/clusters": 0.0} and latent.label(np.zeros((1, 2)), np.zeros(1)) == -1
    ids = relabelled(latent, short_episodes(groups))
    np.testing.assert_array_equal(ids.ravel(), np.repeat(groups, 2))


def test_blobs_of_episodes() -> None:
    """k is chosen, the labels that environments tell (with other numbers) agree."""
    latent = LatentGroups(min_episodes=30)
    groups = rng().permutation(np.repeat([0, 1, 2], 20))
    buffer = short_episodes(groups, ids=np.array([5, 3, 9])[groups])
    np.testing.assert_array_equal(relabelled(latent, buffer).ravel(), np.repeat(groups, 2))
    log = latent.log()
    assert log["group/ari"] == 1.0 and log["group/clusters"] == 3.0 and log["group/silhouette"] > 0.8
    assert latent.label(np.full((3, 2), 1.0), np.zeros(3)) == 1
    assert buffer.group_ids.dtype == np.int64


def test_labels_that_have_nothing_to_do_with_it() -> None:
    """Shares of random labels agree as by chance: over 400 episodes the index has a deviation below 0.01."""
    groups = np.tile([0, 1], 200)
    latent = LatentGroups(n_groups=2, min_episodes=30)
    relabelled(latent, short_episodes(groups, length=1, ids=rng(5).integers(0, 2, 400)))
    assert abs(latent.log()["group/ari"]) < 0.03


def test_episodes_without_a_label_are_not_compared() -> None:
    groups = np.tile([0, 1], 20)
    buffer = short_episodes(groups, ids=groups)
    buffer.group_ids[0::4] = 7  # the first of the two steps of every other episode contradicts the second
    buffer.group_ids[2] = -1  # concerned nobody, which contradicts nothing
    latent = LatentGroups(n_groups=2, min_episodes=30)
    relabelled(latent, buffer)
    assert latent.log()["group/ari"] == 1.0  # all that are left are of group 1
    assert (latent._labels >= 0).sum() == 20
    unlabelled = LatentGroups(n_groups=2, min_episodes=30)
    relabelled(unlabelled, short_episodes(groups))
    assert "group/ari" not in unlabelled.log()


def test_two_environments_cut_by_rollouts_by_hand() -> None:
    """
    Episodes of 5 steps in rollouts of 4. In environment 0 an episode begins as if it were of group 0 and shows from its third
    step on that it is of group 1: mean observations so far 0, 0, 6 / 3 = 2, 3, 3.6 against centres 0 and 3.6.
    """
    latent = LatentGroups(n_groups=2, min_episodes=2, features=mean_observation, refit_every=None)
    latent.clusters = Clusters(np.array([[0.0], [3.6]]), np.ones(1))
    observations = np.zeros((12, 2, 2))
    observations[2:5, 0] = observations[7:10, 0] = 6.0  # environment 0: two episodes of group 1; environment 1: of group 0
    rewards = np.stack([np.arange(12.0), np.ones(12)], axis=1)
    dones = np.tile((np.arange(12) % 5 == 4)[:, None], 2)
    buffers = []
    for start in (0, 4, 8):
        steps = slice(start, start + 4)
        buffers.append(filled(observations[steps], rewards[steps], dones[steps]))
        relabelled(latent, buffers[-1], [start == 0] * 2)
    ids, returns, exposure = (
        np.concatenate([getattr(buffer, key) for buffer in buffers]) for key in ("group_ids", "raw_rewards", "group_exposure")
    )
    # In the second rollout the new episode is at its third step: mean (0 + 0 + 6) / 3
    np.testing.assert_array_equal(ids[:, 0], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(ids[:, 1], 0)
    np.testing.assert_array_equal(returns[:, 0], [0, 0, 0, 0, 0 + 1 + 2 + 3 + 4, 0, 0, 0, 0, 5 + 6 + 7 + 8 + 9, 0, 0])
    np.testing.assert_array_equal(returns[:, 1], 5.0 * dones[:, 1])
    np.testing.assert_array_equal(exposure, dones)


def mean_observation(observations: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    return np.array([observations.mean()])


def performance_of(buffers: Sequence[tuple[GroupBufferMixin, np.ndarray]], n_groups: int) -> PerformanceState:
    """Performance after rollouts that all count the same."""
    state = initial_performance(n_groups, buffers[0][0].n_envs)
    for buffer, starts in buffers:
        state = forget_unfinished(state, starts)
        rewards, exposure = buffer.split_rewards(n_groups), buffer.split_exposure(n_groups)
        state = update_performance(state, rewards, exposure, buffer.dones, smoothing=0.0, shrinkage=0.0)
    return state


def random_rollouts(n_steps: int, n_rollouts: int, n_envs: int, seed: int) -> tuple[list[GroupRolloutBuffer], dict[int, list]]:
    """
    Rollouts of episodes of random lengths that belong to one of three groups, and the returns of the finished ones by group.
    """
    random, total = rng(seed), n_steps * n_rollouts
    observations, rewards = np.zeros((total, n_envs, 2)), random.normal(size=(total, n_envs)).astype(np.float32)
    dones, groups = np.zeros((total, n_envs), dtype=bool), np.zeros((total, n_envs), dtype=int)
    returns: dict[int, list] = {0: [], 1: [], 2: []}
    for env in range(n_envs):
        start = 0
        while start < total:
            end, group = start + int(random.integers(1, 3 * n_steps)), int(random.integers(3))
            observations[start:end, env], groups[start:end, env] = group, group
            rewards[start:end, env] += group
            if end <= total:
                dones[end - 1, env] = True
                returns[group].append(rewards[start:end, env].sum())
            start = end
    observations += 0.05 * random.standard_normal(observations.shape)
    cuts = [slice(start, start + n_steps) for start in range(0, total, n_steps)]
    return [filled(observations[cut], rewards[cut], dones[cut], groups[cut]) for cut in cuts], returns


def test_performance_is_the_mean_return_of_a_cluster() -> None:
    """Episodes of up to 24 steps in rollouts of 8."""
    buffers, returns = random_rollouts(8, 60, 3, seed=0)
    latent = LatentGroups(features=mean_observation, refit_every=3)
    latent.clusters = Clusters(np.array([[0.0], [1.0], [2.0]]), np.ones(1))
    starts = [np.full(3, k == 0) for k in range(60)]
    for buffer, start in zip(buffers, starts, strict=True):
        latent.relabel(buffer, start)
    state = performance_of(list(zip(buffers, starts, strict=True)), 3)
    np.testing.assert_allclose(state["value"], [np.mean(returns[group]) for group in range(3)], rtol=1e-5)
    np.testing.assert_array_equal(state["units"], [len(returns[group]) for group in range(3)])
    assert not state["pending"].any()
    assert latent.log()["group/ari"] == 1.0


def test_episodes_cut_by_a_reset_are_dropped() -> None:
    latent = LatentGroups(n_groups=2, min_episodes=2, refit_every=None)
    latent.clusters = Clusters(np.array([[0.0, 0.0, 0.0, 0.0], [5.0, 5.0, 0.0, 0.0]]), np.ones(4))
    first = filled(np.full((3, 2, 2), 5.0), np.ones((3, 2)), np.zeros((3, 2)))
    relabelled(latent, first, [True, True])
    second = filled(np.zeros((2, 2, 2)), np.ones((2, 2)), np.array([[0, 0], [1, 1]]))
    relabelled(latent, second, [True, False])
    # Environment 1 goes on: mean 3, nearer to 5, return 5
    np.testing.assert_array_equal(second.raw_rewards, [[0.0, 0.0], [2.0, 5.0]])
    np.testing.assert_array_equal(second.group_ids, [[0, 1], [0, 1]])


def test_other_number_of_environments() -> None:
    latent = LatentGroups(n_groups=2, min_episodes=2, refit_every=None)
    relabelled(latent, filled(np.ones((3, 2, 2)), np.ones((3, 2)), np.zeros((3, 2))), [True, True])
    buffer = filled(np.ones((1, 3, 2)), np.ones((1, 3)), np.ones((1, 3)))
    relabelled(latent, buffer, [False, False, False])
    np.testing.assert_array_equal(buffer.raw_rewards, [[1.0, 1.0, 1.0]])


def test_refits_keep_ids_while_groups_move() -> None:
    """Both groups drift by more than their distance; histories stay with their group."""
    latent = LatentGroups(n_groups=2, min_episodes=20, refit_every=1, memory=40)
    groups = np.tile([0, 1], 20)
    for rollout in range(6):
        buffer = short_episodes(groups, seed=rollout)
        buffer.observations += 0.4 * rollout
        np.testing.assert_array_equal(relabelled(latent, buffer).ravel(), np.repeat(groups, 2))


def test_refits_come_when_they_are_due() -> None:
    latent = LatentGroups(n_groups=2, min_episodes=20, refit_every=2, memory=40)
    centers = []
    for rollout in range(5):
        relabelled(latent, short_episodes(np.tile([0, 1], 20), seed=rollout))
        assert latent.clusters is not None
        centers.append(latent.clusters.centers)
    changed = [bool((before != after).any()) for before, after in itertools.pairwise(centers)]
    assert changed == [False, True, False, True]
    assert len(latent._memory) == 40


def test_dict_observations() -> None:
    space = spaces.Dict({"b": SPACE, "a": spaces.Discrete(2)})
    buffer = GroupDictRolloutBuffer(6, space, spaces.Discrete(2), device="cpu", n_envs=1)
    observations = {"b": np.zeros((6, 1, 2)), "a": np.array([0, 0, 1, 1, 1, 0])[:, None]}
    fill(buffer, observations, np.ones((6, 1)), np.ones((6, 1)))
    latent = LatentGroups(n_groups=2, min_episodes=2)
    np.testing.assert_array_equal(relabelled(latent, buffer).ravel(), [0, 0, 1, 1, 1, 0])
    assert latent.label({"b": np.zeros((4, 2)), "a": np.ones(4)}, np.zeros(4)) == 1


def test_features_of_the_user_see_the_whole_episode() -> None:
    seen: list[tuple[int, float]] = []

    def spy(observations: np.ndarray, rewards: np.ndarray) -> list[float]:
        assert observations.shape == (len(rewards), 2)
        seen.append((len(rewards), float(rewards.sum())))
        return [float(rewards.sum())]

    latent = LatentGroups(features=spy)
    for start, done in ((True, 0), (False, 0), (False, 1)):
        relabelled(latent, filled(np.zeros((2, 1, 2)), np.ones((2, 1)), np.array([[0], [done]])), [start])
    assert seen == [(2, 2.0), (4, 4.0), (6, 6.0)]


# -- Saving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [None, mean_observation])
def test_saved_and_loaded_go_on_alike(features: Any) -> None:
    """Saved in the middle of episodes and between two fits."""
    buffers, _ = random_rollouts(8, 40, 2, seed=3)
    copies, _ = random_rollouts(8, 40, 2, seed=3)
    latent = LatentGroups(n_groups=3, min_episodes=10, features=features, refit_every=7, memory=30)
    for k in range(25):
        latent.relabel(buffers[k], np.full(2, k == 0))
    file = io.BytesIO(cloudpickle.dumps(latent))
    loaded = pickle.load(file)
    for k in range(25, 40):
        latent.relabel(buffers[k], np.zeros(2, dtype=bool))
        loaded.relabel(copies[k], np.zeros(2, dtype=bool))
        np.testing.assert_array_equal(buffers[k].group_ids, copies[k].group_ids)
        np.testing.assert_array_equal(buffers[k].raw_rewards, copies[k].raw_rewards)
        assert loaded.log() == latent.log()
    np.testing.assert_array_equal(loaded.clusters.centers, latent.clusters.centers)  # type: ignore[union-attr]


def test_saved_with_the_model(tmp_path: Path) -> None:
    """The loaded model knows the same clusters, and goes on with another number of environments."""
    latent = LatentGroups(n_groups=2, min_episodes=10, refit_every=2)
    model = make(shared(keys=("group_id",), names=None, length=3), latent_groups=latent).learn(96)
    model.save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", env=shared(n_envs=3, keys=(), names=None, length=3), device="cpu")
    assert isinstance(model.latent_groups, LatentGroups) and isinstance(loaded.latent_groups, LatentGroups)
    log = loaded.latent_groups.log()
    assert log == model.latent_groups.log() and log["group/clusters"] == 2.0
    loaded.learn(96)
    assert loaded.latent_groups.log() != log


def test_scikit_learn_is_imported_when_it_is_needed() -> None:
    code = "import sys, sb3_grpo.common.latent_groups; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# -- Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(n_groups=0), "`n_groups` must be an integer, at least 1, or None, got 0"),
        (dict(n_groups=2.0), "`n_groups` must be an integer"),
        (dict(max_groups=1), "`max_groups` must be an integer, at least 2, got 1"),
        (dict(min_episodes=1), "`min_episodes` must be an integer, at least 2, got 1"),
        (dict(n_groups=5, min_episodes=4), "`min_episodes` must be an integer, at least 5, got 4"),
        (dict(memory=99), "`memory` must be an integer, at least 100, got 99"),
        (dict(refit_every=0), "`refit_every` must be an integer, at least 1, or None, got 0"),
        (dict(seed=-1), "`seed` must be an integer, at least 0, got -1"),
        (dict(seed=True), "`seed` must be an integer, at least 0, got True"),
        (dict(features="mean"), r"`features` must be a function \(observations, rewards\) -> vector, got 'mean'"),
        (dict(min_size=1.5), "`min_size` must be a share between 0 and 1, or an integer, at least 1, got 1.5"),
        (dict(min_size=0), "`min_size` must be"),
        (dict(min_silhouette=2), r"`min_silhouette` must be in \[-1, 1\], got 2"),
    ],
)
def test_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentGroups(**kwargs)


@pytest.mark.parametrize("answer", [[np.nan], [np.inf, 1.0], [], 3.0, [[1.0], [2.0]]])
def test_features_that_are_none(answer: Any) -> None:
    latent = LatentGroups(features=lambda *_: answer)
    with pytest.raises(
        ValueError, match="`features` of LatentGroups must give a vector of finite numbers, of the same length"
    ):
        relabelled(latent, short_episodes(np.array([0, 1])))


def test_features_that_change_their_length() -> None:
    latent = LatentGroups(features=lambda observations, rewards: rewards)
    relabelled(latent, short_episodes(np.array([0])))
    with pytest.raises(ValueError, match=r"of the same length every time \(2\), got array\(\[0.5\]"):
        relabelled(latent, filled(np.zeros((1, 1, 2)), np.full((1, 1), 0.5), np.ones((1, 1))))
