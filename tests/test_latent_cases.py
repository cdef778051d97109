"""Groups of cases that nobody labelled: planted groups are found again, ids stay, and difficulty is not demography."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sb3_grpo import FairGRPO
from sb3_grpo.common.clusters import elbow, inertia
from sb3_grpo.fair_grpo import LatentCases
from tests.case_envs import planted_env

SMALL: dict[str, Any] = dict(batch_size=64, n_epochs=1, policy_kwargs=dict(net_arch=[8]), seed=0, device="cpu")


def answered(n: int, seed: int, success: tuple[float, ...], shares: tuple[float, ...], answers: int = 16) -> tuple[Any, ...]:
    """Observations that mean nothing, rewards of 0 and 1, and the group of each case."""
    rng = np.random.default_rng(seed)
    groups = rng.choice(len(shares), n, p=shares)
    rewards = (rng.random((n, answers)) < np.array(success)[groups][:, None]).astype(np.float64)
    return rng.normal(size=(n, 2)), rewards, groups.astype(np.int64)


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_hard_group_is_found_by_its_rewards(seed: int) -> None:
    observations, rewards, groups = answered(1000, seed, (0.9, 0.3), (0.85, 0.15))
    latent = LatentCases(seed=seed)
    found = latent.label(observations, rewards, groups)
    assert adjusted_rand_score(groups, found) >= 0.8
    log = latent.log()
    assert log["group/clusters"] == 2 and log["group/ari"] == pytest.approx(adjusted_rand_score(groups, found))


def test_bins_of_difficulty_are_no_demographic_groups() -> None:
    """Three groups, of which two fare alike: the rewards cannot tell these, and tell nothing of a group that fares alike."""
    observations, rewards, groups = answered(2000, 0, (0.9, 0.9, 0.2), (0.4, 0.4, 0.2))
    latent = LatentCases()
    found = latent.label(observations, rewards, groups)
    easy = groups < 2
    assert adjusted_rand_score(groups == 2, found) > 0.9
    assert abs(adjusted_rand_score(groups[easy], found[easy])) < 0.02
    assert adjusted_rand_score(groups, found) < 0.5


def test_groups_that_features_tell_are_found_by_the_features() -> None:
    rng = np.random.default_rng(0)
    groups = (rng.random(800) < 0.2).astype(np.int64)
    observations = 6.0 * groups[:, None] + rng.normal(size=(800, 2))
    rewards = (rng.random((800, 4)) < 0.5).astype(np.float64)
    latent = LatentCases(description="features", choice="silhouette")
    assert adjusted_rand_score(groups, latent.label(observations, rewards, groups)) > 0.95
    both = LatentCases(description=lambda seen, earned: np.column_stack([seen[:, 0], earned.mean(axis=1)]), n_groups=2)
    assert both.label(observations, rewards, groups).max() == 1


def test_ids_stay_when_clusters_are_fitted_again_and_the_policy_has_improved() -> None:
    latent = LatentCases(refit_every=1, memory=500)
    for rollout in range(6):
        success = (0.8 + 0.03 * rollout, 0.2 + 0.05 * rollout)
        observations, rewards, groups = answered(500, rollout, success, (0.8, 0.2))
        found = latent.label(observations, rewards, groups)
        assert (found == 1 - groups).mean() > 0.93  # the first fit numbers clusters by the lowest reward


def test_the_elbow_counts_clusters() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(center, 0.1, (100, 1)) for center in (0.0, 5.0, 10.0)])
    clusters, score = elbow(features, 8, np.random.default_rng(0))
    assert len(clusters.centers) == 3 and score > 0.9
    by_hand = np.square((features - clusters.centers[clusters.nearest(features)]) / clusters.scale).sum()
    assert inertia(features, clusters) == pytest.approx(by_hand)
    assert len(elbow(np.ones((10, 2)), 8, np.random.default_rng(0))[0].centers) == 1  # all alike


def third_feature(observations: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    return observations[:, 2:]


def test_latent_groups_in_training_weight_what_is_hard(tmp_path: Path) -> None:
    """The planted rare group is where answers are right by chance only; its observation tells it, and the policy sees all."""
    latent = LatentCases(description=third_feature, n_groups=2, min_cases=64)
    model: Any = FairGRPO("MlpPolicy", planted_env(n_cases=64, answers=8), latent_groups=latent, learning_rate=0.01, **SMALL)
    model.learn(512 * 12)
    assert latent.clusters is None and model.latent_groups is not None  # it has a copy of its own
    log = {**model._rollout_log, **model.latent_groups.log()}
    assert log["group/ari"] >= 0.8
    hard, easy = sorted((0, 1), key=lambda group: log[f"group/{group}/reward"])
    assert log[f"group/{hard}/weight"] > 1 > log[f"group/{easy}/weight"]
    model.save(tmp_path / "model.zip")
    loaded: Any = FairGRPO.load(tmp_path / "model.zip", planted_env(n_cases=64, answers=8))
    np.testing.assert_array_equal(loaded.latent_groups.clusters.centers, model.latent_groups.clusters.centers)
    loaded.learn(512, reset_num_timesteps=False)


def test_before_there_are_groups_nothing_is_weighted_by_them() -> None:
    model = FairGRPO("MlpPolicy", planted_env(n_cases=64), latent_groups=LatentCases(min_cases=100), **SMALL)
    model.learn(1)
    assert model.case_history is not None and model.case_history["cases"].shape == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"description": "labels"}, "`description` must be one of"),
        ({"choice": "guess"}, "`choice` must be one of"),
        ({"min_cases": 1}, "`min_cases` must be an integer, at least 2"),
        ({"n_groups": 0}, "`n_groups` must be an integer"),
        ({"memory": 100}, "`memory` must be an integer, at least 200"),
    ],
)
def test_what_it_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentCases(**arguments)


@pytest.mark.parametrize("described", [np.zeros(3), np.full((3, 2), np.nan), np.zeros((2, 2))])
def test_descriptions_it_refuses(described: np.ndarray) -> None:
    latent = LatentCases(description=lambda observations, rewards: described)
    with pytest.raises(ValueError, match="must give a vector of finite numbers"):
        latent.label(np.zeros((3, 1)), np.zeros((3, 2)), np.zeros(3, dtype=np.int64))
