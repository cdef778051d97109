"""Episodes are played once each, in the same way however many environments share the work."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch as th
from gymnasium import spaces

from hospital_gym.heuristics import HEURISTICS
from hospital_gym.records import RECORD_DTYPE
from sb3_grpo import GroupRobustMaskablePPO, GroupRobustPPO, GroupRobustRecurrentPPO
from sb3_grpo.common.evaluation import SEED_PURPOSES, derived_seed, evaluate_episodes


class FakeHospital(gym.Env):
    """Episodes of 3 to 8 steps; each step records one patient, who benefits if the action is the parity of the step.

    :param broken: which promise to break: "episode", "episode_records", "episode_cost" or none
    """

    group_names = ("even", "odd")

    def __init__(self, broken: str = "") -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.broken = broken

    def _observation(self) -> npt.NDArray[np.float32]:
        return np.array([self.step_number % 2, self.rng.random()], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        assert options is not None
        self.episode, self.step_number = options["episode"], 0
        self.rng = np.random.default_rng([seed or 0, self.episode])
        self.records = np.zeros(self.rng.integers(3, 9), dtype=RECORD_DTYPE)
        self.records["episode"], self.records["counted"], self.records["demand"] = self.episode, True, 1.0
        self.records["age"] = self.rng.uniform(0, 99, len(self.records))
        return self._observation(), {} if self.broken == "episode" else {"episode": self.episode}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        row = self.records[self.step_number]
        row["patient_id"], row["group"] = self.step_number, self.step_number % 2
        row["benefit"] = float(action == self.step_number % 2)
        self.step_number += 1
        last = self.step_number == len(self.records)
        results = {"episode_records": self.records.copy(), "episode_cost": float(self.episode)} if last else {}
        results.pop(self.broken, None)
        return self._observation(), 0.0, False, last, {"invalid_action": self.step_number == 1, **results}


class Parity:
    """Acts on the observation's first number; wrong at an episode's second step, which it counts in its recurrent state."""

    def __init__(self) -> None:
        self.batch_sizes: set[int] = set()

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[npt.NDArray[np.int64], tuple[npt.NDArray[Any], ...]]:
        assert deterministic
        self.batch_sizes.add(len(observation))
        step = np.zeros(len(observation)) if state is None else state[0]
        step = np.where(episode_start, 0, step)
        parity = observation[:, 0].astype(np.int64)
        return np.where(step == 1, 1 - parity, parity), (step + 1,)


def test_every_episode_once_in_order() -> None:
    finished: list[int] = []
    result = evaluate_episodes(Parity(), FakeHospital, n_episodes=7, seed=3, n_envs=3, progress=finished.append)
    lengths = [np.random.default_rng([3, episode]).integers(3, 9) for episode in range(7)]
    np.testing.assert_array_equal(result.records["episode"], np.repeat(np.arange(7), lengths))
    np.testing.assert_array_equal(result.decisions, lengths)
    np.testing.assert_array_equal(result.invalid_actions, np.ones(7))
    np.testing.assert_array_equal(result.costs, np.arange(7))
    assert result.group_names == ("even", "odd")
    assert finished == [1, 2, 3, 4, 5, 6, 7]


def test_state_and_episode_starts_reach_the_policy() -> None:
    """Exactly the second patient of every episode is treated wrongly, also in environments that play several episodes."""
    result = evaluate_episodes(Parity(), FakeHospital, n_episodes=9, seed=0, n_envs=2)
    np.testing.assert_array_equal(result.records["benefit"], result.records["patient_id"] != 1)
    totals = result.totals()
    np.testing.assert_array_equal(totals.demand - totals.benefit, np.tile([0, 1], (9, 1)))


@pytest.mark.parametrize("n_envs", [1, 2, 5, 8])
def test_independent_of_the_number_of_environments(n_envs: int) -> None:
    policy = Parity()
    result = evaluate_episodes(policy, FakeHospital, n_episodes=5, seed=11, n_envs=n_envs)
    reference = evaluate_episodes(Parity(), FakeHospital, n_episodes=5, seed=11, n_envs=3)
    np.testing.assert_array_equal(result.records, reference.records)
    np.testing.assert_array_equal(result.costs, reference.costs)
    assert policy.batch_sizes == {min(n_envs, 5)}


class MaskedHospital(FakeHospital):
    """The same with a mask: only the action of the step's parity is valid. Asked after its last step, it fails."""

    def action_masks(self) -> npt.NDArray[np.bool_]:
        assert self.step_number < len(self.records)
        return np.arange(2) == self.step_number % 2


class Masked:
    """Takes the one valid action; without masks, action 0. Keeps the masks that it was given."""

    def __init__(self) -> None:
        self.masks: list[Any] = []

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[npt.NDArray[np.int64], None]:
        self.masks.append(action_masks)
        return (np.zeros(len(observation), np.int64) if action_masks is None else np.argmax(action_masks, axis=1)), None


def test_masks_reach_a_policy_that_takes_them() -> None:
    """Five episodes in three environments: towards the end two have nothing left to do, and are not asked."""
    policy = Masked()
    result = evaluate_episodes(policy, MaskedHospital, n_episodes=5, seed=0, n_envs=3)
    assert result.records["benefit"].all()
    assert {mask.shape for mask in policy.masks} == {(3, 2)} and policy.masks[-1].sum() == 2 + 2 + 1
    np.testing.assert_array_equal(
        evaluate_episodes(Parity(), MaskedHospital, 5, seed=0, n_envs=3).decisions, result.decisions
    )  # takes none
    without = Masked()
    evaluate_episodes(without, FakeHospital, n_episodes=2, seed=0)  # there are none
    assert set(without.masks) == {None}


@pytest.mark.parametrize("broken", ["episode", "episode_records", "episode_cost"])
def test_what_an_environment_lacks_is_named(broken: str) -> None:
    with pytest.raises(ValueError, match=rf"info\['{broken}'\]"):
        evaluate_episodes(Parity(), lambda: FakeHospital(broken), n_episodes=2, seed=0)


@pytest.mark.parametrize("key", ["n_episodes", "n_envs"])
def test_numbers_below_one_are_refused(key: str) -> None:
    numbers = {"n_episodes": 2, "n_envs": 2, key: 0}
    with pytest.raises(ValueError, match=f"{key}: got 0, expected at least 1"):
        evaluate_episodes(Parity(), FakeHospital, numbers["n_episodes"], seed=0, n_envs=numbers["n_envs"])


def test_progress_can_end_an_evaluation() -> None:
    def stop(finished: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_episodes(Parity(), FakeHospital, n_episodes=2, seed=0, progress=stop)


def test_derived_seeds_are_outside_training_and_each_others_ranges() -> None:
    """Training seeds are below 2^32 (numpy's global generator, which SB3 seeds, accepts no other)."""
    with pytest.raises(ValueError, match=r"between 0 and 2\*\*32 - 1"):
        np.random.seed(2**32)
    for place, purpose in enumerate(SEED_PURPOSES, start=1):
        seeds = [derived_seed(seed, purpose) for seed in (0, 1, 2, 2**31, 2**32 - 1)]
        assert all(place * 2**32 <= seed < (place + 1) * 2**32 for seed in seeds)
        assert len(set(seeds)) == len(seeds)
    assert derived_seed(0, "report") == derived_seed(0, "report")
    with pytest.raises(ValueError, match="purpose: got 'training'"):
        derived_seed(0, "training")
    with pytest.raises(ValueError, match="seed: got -1"):
        derived_seed(-1, "report")


def make_rural() -> gym.Env:
    return gym.make("Hospital-Rural-v0")


@pytest.mark.parametrize("name", ["triage", "furthest-behind"])
def test_hospital_episodes_do_not_depend_on_the_number_of_environments(name: str) -> None:
    policy = HEURISTICS[name](make_rural())
    one, three = (evaluate_episodes(policy, make_rural, n_episodes=4, seed=2**32 + 1, n_envs=n) for n in (1, 3))
    for field in RECORD_DTYPE.names or ():
        np.testing.assert_array_equal(one.records[field], three.records[field])
    np.testing.assert_array_equal(one.costs, three.costs)
    np.testing.assert_array_equal(one.decisions, three.decisions)


@pytest.mark.parametrize("kind", ["maskable", "recurrent"])
def test_models_with_masks_or_memory(kind: str) -> None:
    """Valid actions only, and the same episodes in one environment as in three, some of which play two episodes."""
    model: Any
    if kind == "maskable":
        model = GroupRobustMaskablePPO("MlpPolicy", make_rural(), n_steps=8, batch_size=8, seed=0, device="cpu")
    else:
        network = dict(lstm_hidden_size=8, net_arch=[8])
        model = GroupRobustRecurrentPPO(
            "MaskedMlpLstmPolicy", make_rural(), n_steps=8, batch_size=8, policy_kwargs=network, seed=0, device="cpu"
        )
    with th.no_grad():  # make the memory matter, and ties unlikely that the rounding of a batch decides
        for parameter in model.policy.parameters():
            parameter.mul_(3.0)
    one, three = (evaluate_episodes(model, make_rural, n_episodes=4, seed=5, n_envs=n) for n in (1, 3))
    assert one.invalid_actions.sum() == 0
    np.testing.assert_array_equal(one.decisions, three.decisions)
    np.testing.assert_array_equal(one.records["benefit"], three.records["benefit"])


def test_all_policies_meet_the_same_patients() -> None:
    """Which is what makes differences between policies paired: equal demand in every episode and group; benefits differ."""
    sets = [evaluate_episodes(HEURISTICS[name](make_rural()), make_rural, 3, seed=5) for name in ("triage", "c-mu")]
    model = GroupRobustPPO("MlpPolicy", make_rural(), n_steps=8, batch_size=8, seed=0, device="cpu")
    sets.append(evaluate_episodes(model, make_rural, 3, seed=5))
    totals = [episodes.totals() for episodes in sets]
    for other in totals[1:]:
        np.testing.assert_array_equal(other.demand, totals[0].demand)
        np.testing.assert_array_equal(other.counted, totals[0].counted)
        assert not np.array_equal(other.benefit, totals[0].benefit)
    assert sets[0].group_names == ("pediatric", "adult", "elderly", "critical")
    assert np.all(totals[0].counted.sum(axis=0) >= 30)
