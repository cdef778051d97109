"""Groups of patients: how many, which is which after another fit, what they agree with, and groups of an environment."""

from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from stable_baselines3 import PPO

from sb3_grpo import GroupAssignment, GroupRelativePPO
from sb3_grpo.common.clusters import most_shared
from sb3_grpo.group_relative_ppo import GroupObservation
from sb3_grpo.time_series import ClusterAttribute, PatientClusterer, TimeSeriesFusionExtractor, embed, gates
from tests.patient_series import CHANNELS, PatientEnv, patients
from tests.test_fusion_extractor import NETWORK, SMALL, venv
from tests.test_latent_groups import CENTERS, SIZES, blobs

WHO = [f"patient {number}" for number in range(sum(SIZES))]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_number_of_groups_has_the_highest_silhouette(k: int) -> None:
    embeddings, labels = blobs(CENTERS[:k], SIZES[:k])
    clusterer = PatientClusterer(seed=3)
    np.testing.assert_array_equal(clusterer.fit_predict(embeddings), labels)  # numbered by the first feature, as the blobs are
    assert list(clusterer.silhouettes_) == list(range(2, 21))
    assert max(clusterer.silhouettes_, key=lambda n: clusterer.silhouettes_[n]) == k and clusterer.silhouettes_[k] > 0.9
    assert clusterer.names == tuple(f"cluster {group}" for group in range(k))
    assert clusterer.agreement(embeddings, labels) == 1.0


def test_a_given_number_is_kept_and_seeds_decide() -> None:
    embeddings = np.random.default_rng(0).standard_normal((60, 5))
    one, two = PatientClusterer(3, seed=1).fit(embeddings), PatientClusterer(3, seed=1).fit(embeddings)
    np.testing.assert_array_equal(one.labels_, two.labels_)
    assert set(one.labels_) == {0, 1, 2} and list(one.silhouettes_) == [3]


def test_small_clusters_do_not_count() -> None:
    """Two patients apart from all are the best of two clusters; a tenth of the patients are needed."""
    embeddings, _ = blobs([[0, 0], [1, 1], [40, 40]], [50, 50, 2])
    assert np.bincount(PatientClusterer(max_groups=4, min_size=0.0).fit_predict(embeddings)).min() == 2
    with pytest.raises(
        ValueError, match=r"min_size: no number of clusters from 2 to 2 has a share of 0.1 of the 102 patients"
    ):
        PatientClusterer(max_groups=2, min_size=0.1).fit(embeddings)


@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_ids_survive_another_embedding(seed: int) -> None:
    """The policy has learned: the embedding is turned, mirrored and longer, some patients are new and some are gone."""
    embeddings, labels = blobs(CENTERS, SIZES)
    clusterer = PatientClusterer(max_groups=5, seed=seed).fit(embeddings, WHO)
    rng = np.random.default_rng(seed)
    other = (embeddings - embeddings.mean(axis=0)) @ rng.standard_normal((2, 6)) * [-1, 1, -1, 1, 1, 1]
    order = rng.permutation(len(WHO))[20:]
    newcomers = [f"new {number}" for number in range(10)]
    who = [WHO[place] for place in order] + newcomers
    clusterer.fit(np.concatenate([other[order], other[:10]]), who)
    np.testing.assert_array_equal(clusterer.labels_, np.concatenate([labels[order], labels[:10]]))


@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_ids_survive_new_patients_of_the_same_embedding(seed: int) -> None:
    embeddings, _ = blobs(CENTERS, SIZES)
    others, labels = blobs(np.array(CENTERS) + 0.3, SIZES[::-1], seed=seed)  # type: ignore[arg-type]
    clusterer = PatientClusterer(max_groups=5, seed=seed).fit(embeddings)
    np.testing.assert_array_equal(clusterer.fit(others).labels_, labels)
    np.testing.assert_array_equal(clusterer.predict(embeddings), PatientClusterer(4).fit(embeddings).labels_)


def test_most_shared_by_hand() -> None:
    """Old cluster 0 became 2, 1 became 0; what is left goes together, though nobody is shared."""
    old, new = np.array([0, 0, 1, 1, 1]), np.array([2, 2, 0, 0, 2])
    np.testing.assert_array_equal(most_shared(old, new, np.zeros((3, 3))), [2, 0, 1])
    # Nobody is shared at all: the closest are matched
    np.testing.assert_array_equal(most_shared(old[:0], new[:0], np.array([[5.0, 1.0], [1.0, 5.0]])), [1, 0])


def test_agreement_leaves_the_unknown_out() -> None:
    embeddings, labels = blobs(CENTERS, SIZES)
    clusterer = PatientClusterer(2).fit(embeddings)
    known = np.where(np.arange(len(labels)) % 3, labels, -1)
    expected = adjusted_rand_score(labels[known >= 0], clusterer.labels_[known >= 0])
    assert clusterer.agreement(embeddings, known) == pytest.approx(expected) and 0 < expected < 1


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: PatientClusterer(n_groups=0), "n_groups: got 0"),
        (lambda: PatientClusterer(max_groups=1), "max_groups: got 1"),
        (lambda: PatientClusterer(min_size=0.6), "min_size: got 0.6"),
        (lambda: PatientClusterer().predict(np.zeros((2, 2))), "got no fit so far"),
        (lambda: PatientClusterer().fit([[np.nan, 1.0]]), "expected \\(n, d\\) finite numbers"),
        (lambda: PatientClusterer().fit(np.zeros(4)), "expected \\(n, d\\) finite numbers"),
        (lambda: PatientClusterer(5).fit(np.zeros((5, 2))), "got 5, expected more than the 5 clusters"),
        (lambda: PatientClusterer().fit(np.ones((20, 2))), "min_size: no number of clusters"),
        (lambda: fitted().predict(np.zeros((2, 3))), "got 3 numbers for each patient, expected 2 as before"),
        (lambda: fitted().fit(np.zeros((9, 3))), "got 3 numbers for each patient, expected 2 as before"),
        (lambda: fitted().fit(np.zeros((9, 3)), range(9)), "nobody among them was in an earlier fit"),
        (lambda: fitted().fit(np.zeros((9, 2)), ["a"]), "patients: got 1 ids, expected one for each of the 9"),
        (lambda: fitted().agreement(np.zeros((3, 2)), [0, -1, -1]), "at least two of them known"),
        (lambda: fitted().agreement(np.zeros((2, 2)), ["a", "b"]), "expected 2 group ids"),
        (lambda: embed(PPO("MultiInputPolicy", venv(), **SMALL), {"vitals": np.zeros(2)}), "expected a dict with the keys"),
        (lambda: embed(PPO("MultiInputPolicy", venv(), **SMALL), patients(0)), "observations: got none"),
    ],
)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_what_does_not_fit(act: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act()


def fitted() -> PatientClusterer:
    return PatientClusterer().fit(blobs(CENTERS, SIZES)[0])


# -- Embeddings and environments --------------------------------------------------------------------------------------------


def test_embedding_is_what_the_actor_gets() -> None:
    model = PPO("MultiInputPolicy", venv(), policy_kwargs=NETWORK, **SMALL)
    observations = patients(7)
    embeddings = embed(model, observations)
    np.testing.assert_array_equal(embeddings, embed(model, observations, batch_size=7))
    np.testing.assert_allclose(embeddings, embed(model, observations, batch_size=3), atol=1e-6)
    single = {key: part[2] for key, part in observations.items()}
    np.testing.assert_allclose(embed(model, single), embeddings[2:3], atol=1e-6)
    assert embeddings.shape == (7, 11) and embeddings.dtype == np.float32
    levels, parts = gates(model, observations)
    assert levels.shape == (7, 3) and parts == (*CHANNELS, "static") and ((levels > 0) & (levels < 1)).all()


def test_the_group_is_not_embedded() -> None:
    env = venv(grouped=True)
    model = GroupRelativePPO("GroupConditionedPolicy", env, policy_kwargs=NETWORK, **SMALL)
    low = {**patients(3), "group_id": np.zeros((3, 1), np.float32)}
    np.testing.assert_array_equal(embed(model, low), embed(model, {**low, "group_id": np.ones((3, 1), np.float32)}))


def test_clusters_are_groups_of_an_environment() -> None:
    """The first vital sign of the first hour tells two groups apart, and nothing else is seen."""
    kwargs = dict(NETWORK, features_extractor_kwargs=dict(modality_dim=4))
    model = PPO("MultiInputPolicy", venv(length=1), policy_kwargs=kwargs, **SMALL)
    assert model.policy_kwargs["features_extractor_class"] is TimeSeriesFusionExtractor
    env, seen, groups = PatientEnv(length=1), [], []
    for episode in range(40):
        observation, info = env.reset(seed=episode)
        for key in ("chemistry", "chemistry_observed", "static"):
            observation[key][:] = 0.0
        observation["vitals"][:, 1] = observation["vitals_observed"][:, 1] = 0.0
        seen.append(observation)
        groups.append(info["group_id"])
    batch = {key: np.stack([observation[key] for observation in seen]) for key in seen[0]}
    clusterer = PatientClusterer(seed=0).fit(embed(model, batch))
    assert clusterer.agreement(embed(model, batch), groups) == 1.0
    wrapped = GroupObservation(GroupAssignment(PatientEnv(), ClusterAttribute(model, clusterer)))
    observation, info = wrapped.reset(seed=0)
    expected = clusterer.predict(embed(model, {key: part for key, part in observation.items() if key != "group_id"}))
    assert info["group_id"] == expected[0] and wrapped.group_names == clusterer.names
    *_, info = wrapped.step(0)
    assert info["group_id"] == expected[0]


def test_groups_stay_what_they_are_while_the_policy_learns_on() -> None:
    """In a copy that was sent to another process too."""
    model = PPO("MultiInputPolicy", venv(), policy_kwargs=NETWORK, **SMALL).learn(16)
    observations = patients(30)
    clusterer = PatientClusterer(3).fit(embed(model, observations))
    attribute = ClusterAttribute(model, clusterer)
    sent = cloudpickle.loads(cloudpickle.dumps(attribute))
    model.learn(16)
    clusterer.fit(embed(model, patients(30, seed=1)))
    single = [{key: part[place] for key, part in observations.items()} for place in range(30)]
    before = PatientClusterer(3).fit(embed(attribute.policy, observations)).labels_
    for copied in (attribute, sent):
        np.testing.assert_array_equal([copied(one, None, {}, 0) for one in single], before)
