import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_grpo import GroupAssignment
from sb3_grpo.common.group_assignment import count_groups
from sb3_grpo.common.group_attributes import GroupAttribute, Intersection, by_function, by_info, by_observation
from sb3_grpo.common.group_merging import MergedAttribute, merge_small
from tests.toy_envs import DictEnv, SharedEnv

AGE = by_info("age", edges=(18, 65), names=("child", "adult", "elderly"))
SEX = by_info("sex", values=("female", "male"))


def ask(attribute: GroupAttribute, observation: Any = None, **info: Any) -> int:
    return attribute(observation, None, info, 0)


def parity(observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
    return episode % 2


class PatientEnv(gym.Env[np.ndarray, int]):
    """
    Episodes of three steps, each with a patient in the info of reset and steps. The age goes with the step, the sex with the
    number of the episode, and which of four actions is valid with both.
    """

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space: spaces.Discrete = spaces.Discrete(4)  # type: ignore[assignment]

    def __init__(self) -> None:
        self.episode = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.steps = 0
        return np.zeros(1, dtype=np.float32), self.patient()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_masks()[action]
        self.steps += 1
        return np.zeros(1, dtype=np.float32), 1.0, False, self.steps == 3, self.patient()

    def patient(self) -> dict[str, Any]:
        return {"age": (10, 40, 70)[self.steps % 3], "sex": ("female", "male")[self.episode % 2]}

    def action_masks(self) -> np.ndarray:
        return np.arange(4) == (self.episode + self.steps) % 4


class PatientPairEnv(PatientEnv):
    """The same with two actions at a time: the first free of the mask, the second bound by it."""

    action_space: spaces.MultiDiscrete = spaces.MultiDiscrete([2, 4])  # type: ignore[assignment]

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        assert self.masks()[action[1]]
        return np.zeros(1, dtype=np.float32), 1.0, False, self.steps == 3, self.patient()

    def masks(self) -> np.ndarray:
        return np.arange(4) == (self.episode + self.steps - 1) % 4

    def action_masks(self) -> np.ndarray:
        return np.concatenate([[True, True], np.arange(4) == (self.episode + self.steps) % 4])


# -- One attribute -----------------------------------------------------------------------------------------------------


def test_edges_and_their_names() -> None:
    age = by_observation(1, edges=(18, 65))
    assert age.names == ("<18", "18-65", ">=65")
    ages = [-5, 17.9, 18, 64.9, 65, np.inf]
    assert [ask(age, np.array([0.0, value])) for value in ages] == [0, 0, 1, 1, 2, 2]
    assert by_observation(0, edges=[0.5]).names == ("<0.5", ">=0.5")
    assert by_observation(0, edges=[-1, 0, 2.5]).names == ("<-1", "-1 to 0", "0 to 2.5", ">=2.5")


def test_edges_and_values_in_single_precision() -> None:
    """0.7 as float32 is less than 0.7."""
    observation = np.array([0.7, 0.1], dtype=np.float32)
    assert ask(by_observation(0, edges=(0.7,)), observation) == 1
    assert ask(by_observation(1, values=(0.0, 0.1)), observation) == 1


def test_observation_entries() -> None:
    table = np.arange(6.0).reshape(2, 3)
    assert ask(by_observation(4, values=range(6)), table) == 4
    assert ask(by_observation(-1, values=range(6)), table) == 5
    assert ask(by_observation(0, values=(1, 0), key="b"), {"a": table, "b": 1}) == 0
    with pytest.raises(ValueError, match="`index` is 6, but the observation has 6 entries"):
        ask(by_observation(6, values=(0, 1), missing="none"), table)
    with pytest.raises(ValueError, match=r"`key` must be a key of the Dict observation, \['a', 'b'\], got None"):
        ask(by_observation(0, values=(0, 1)), {"a": 1, "b": 1})
    with pytest.raises(ValueError, match="`key` is 'a', but the observation is no Dict"):
        ask(by_observation(0, values=(0, 1), key="a"), table)


def test_info_items() -> None:
    assert SEX.names == ("female", "male")
    assert [ask(SEX, sex=sex) for sex in ("male", "female", np.str_("male"))] == [1, 0, 1]
    assert by_info("quintile", values=(1, 2, 3)).names == ("1", "2", "3")
    assert ask(by_info("quintile", values=(1, 2, 3)), quintile=np.array([2])) == 1
    assert [ask(AGE, age=age) for age in (3, np.float32(18), 90)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"sex": "m"}, r"info\['sex'\] is 'm', but must be one of \('female', 'male'\)"),
        ({}, r"info\['sex'\] is missing in the info of the reset"),
        ({"sex": None}, r"info\['sex'\] is None"),
        ({"sex": ["male", "male"]}, r"info\['sex'\] is \['male', 'male'\]"),
    ],
)
def test_unknown_values(info: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SEX(None, None, info, 0)
    assert by_info("sex", values=("female", "male"), missing="none")(None, None, info, 0) == -1


@pytest.mark.parametrize("value", [np.nan, None, "old"])
def test_values_that_are_no_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"info\['age'\] is .*, but must be a number"):
        ask(AGE, age=value)
    with pytest.raises(ValueError, match="is missing in the info of the step"):
        AGE(None, 1, {}, 0)
    assert ask(by_info("age", edges=(18,), missing="none"), age=value) == -1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "Either `edges` or `values` must be given, got edges=None and values=None"),
        (dict(edges=(1,), values=(1,)), "Either `edges` or `values`"),
        (dict(edges=()), "`edges` must be finite, increasing numbers"),
        (dict(edges=(2, 1)), r"increasing numbers, at least one, got \(2, 1\)"),
        (dict(edges=(1, np.inf)), "finite"),
        (dict(values=()), "distinct values, at least one"),
        (dict(values=(1, 1)), "distinct values"),
        (dict(values="ab"), "got 'ab'"),
        (dict(values=(1, 2), names=("a",)), r"`names` must hold a name for each of the groups \('1', '2'\), got \('a',\)"),
        (dict(values=(1, 2), names=("a", "a")), "none twice"),
        (dict(values=(1, 2), missing="skip"), "`missing` must be 'error' or 'none', got 'skip'"),
    ],
)
def test_arguments_of_attributes(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        by_observation(0, **kwargs)
    with pytest.raises(ValueError, match=message):
        by_info("x", **kwargs)


def test_other_arguments() -> None:
    with pytest.raises(ValueError, match="`index` must be an integer, got 'age'"):
        by_observation("age", edges=(1,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`key` must be a string, got 3"):
        by_info(3, values=(1,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`fn` must be a function"):
        by_function(3, ("a",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`fn` of by_function returned 1, but must .* from 0 to 0, for \('a',\)"):
        by_function(parity, ("a",))(None, None, {}, 1)
    assert by_function(parity, ("even", "odd"))(None, None, {}, 3) == 1


# -- Intersections -----------------------------------------------------------------------------------------------------


def test_intersection_is_row_major() -> None:
    both = Intersection({"age": AGE, "sex": SEX})
    assert both.names == (
        "child & female",
        "child & male",
        "adult & female",
        "adult & male",
        "elderly & female",
        "elderly & male",
    )
    for k, name in enumerate(both.names):
        age, sex = name.split(" & ")
        assert ask(both, age={"child": 5, "adult": 30, "elderly": 80}[age], sex=sex) == k


def test_none_in_any_is_none() -> None:
    sex = by_info("sex", values=("female", "male"), missing="none")
    assert ask(Intersection({"age": AGE, "sex": sex}), age=80) == -1
    assert ask(Intersection({"sex": sex, "age": AGE}), age=80) == -1


def test_same_names_in_two_attributes() -> None:
    low_high = ("low", "high")
    both = Intersection(
        {"age": by_info("age", edges=(65,), names=low_high), "income": by_info("i", edges=(1,), names=low_high)}
    )
    assert both.names[1] == "age=low & income=high" and ask(both, age=3, i=2) == 1


def test_intersection_of_an_intersection() -> None:
    inner = Intersection({"age": AGE, "sex": SEX})
    outer = Intersection({"who": inner, "parity": by_function(parity, ("even", "odd"))})
    assert outer.names[3] == "child & male & odd" and outer.cells[3] == ("child", "male", "odd")
    assert outer(None, None, {"age": 5, "sex": "male"}, 7) == 3


@pytest.mark.parametrize("attributes", [{}, None, [AGE]])
def test_no_attributes(attributes: Any) -> None:
    with pytest.raises(ValueError, match="`attributes` must be a dict of attributes by name, at least one"):
        Intersection(attributes)


def test_something_else_in_an_intersection() -> None:
    with pytest.raises(ValueError, match=r"Attribute 'parity' must come from by_observation, by_info, .* got <function"):
        Intersection({"parity": parity})  # type: ignore[dict-item]


# -- In an environment -------------------------------------------------------------------------------------------------


def test_wrapper_takes_the_names() -> None:
    env = GroupAssignment(PatientEnv(), SEX)
    assert env.group_names == ("female", "male") and env.merge_report is None
    assert [env.reset()[1]["group_id"] for _ in range(3)] == [0, 1, 0]
    assert GroupAssignment(PatientEnv(), SEX, group_names=("f", "m")).group_names == ("f", "m")
    with pytest.raises(ValueError, match=r"`group_names` must hold a name for each of the groups \('female', 'male'\)"):
        GroupAssignment(PatientEnv(), SEX, group_names=("f",))


def test_dict_observations() -> None:
    side = by_observation(0, values=(0, 1), names=("left", "right"), key="b")
    env = GroupAssignment(DictEnv(SharedEnv()), side)
    observation, info = env.reset(seed=0)
    assert info["group_id"] == observation["b"] and env.group_names == ("left", "right")


def test_counts() -> None:
    np.testing.assert_array_equal(count_groups(PatientEnv(), SEX, episodes=5, seed=0), [3, 2])
    # Ages of the three steps of an episode: 40, 70, 10; the environment asserts that its actions are valid
    counts = count_groups(PatientEnv(), Intersection({"age": AGE, "sex": SEX}), episodes=5, seed=0, per="step")
    np.testing.assert_array_equal(counts, [3, 2, 3, 2, 3, 2])
    np.testing.assert_array_equal(count_groups(PatientPairEnv(), AGE, episodes=4, per="step"), [4, 4, 4])
    no_boys = by_info("sex", values=("female",), missing="none")
    np.testing.assert_array_equal(count_groups(PatientEnv(), no_boys, episodes=5), [3])


def test_counts_are_those_of_the_seed() -> None:
    by_side = by_observation(0, edges=(0,))
    counts = [count_groups(SharedEnv(), by_side, episodes=20, seed=seed, per="step") for seed in (1, 1, 2)]
    np.testing.assert_array_equal(counts[0], counts[1])
    assert (counts[0] != counts[2]).any() and counts[0].sum() == 20 * SharedEnv().length


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(attribute=parity), "`attribute` must be an attribute"),
        (dict(episodes=0), "`episodes` must be an integer, at least 1, got 0"),
        (dict(episodes=1.5), "`episodes` must be an integer, at least 1, got 1.5"),
        (dict(per="day"), "`per` must be 'episode' or 'step', got 'day'"),
    ],
)
def test_arguments_of_counting(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_groups(PatientEnv(), **{"attribute": SEX, "episodes": 1, **kwargs})


def test_masks_of_other_actions() -> None:
    env = PatientEnv()
    env.action_space = spaces.MultiBinary(4)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="Actions with masks must be Discrete or MultiDiscrete, got MultiBinary"):
        count_groups(env, SEX, episodes=1, per="step")


# -- Merging -----------------------------------------------------------------------------------------------------------


def test_merge_by_hand() -> None:
    """Sex of the elderly merges; the only small cell of the children, 9, goes up and finds nobody: "other"."""
    merged = merge_small(Intersection({"age": AGE, "sex": SEX}), [9, 40, 100, 200, 20, 12])
    assert merged.names == ("child & male", "adult & female", "adult & male", "elderly & other", "other")
    assert merged.groups == (4, 0, 1, 2, 3, 3)
    assert ask(merged, age=80, sex="male") == 3 and ask(merged, age=3, sex="female") == 4
    assert merged.report.too_small == ("other",)
    assert str(merged.report).splitlines() == [
        "cell              units  group            units",
        "child & female        9  other                9  merged, still fewer than 30",
        "child & male         40  child & male        40  kept",
        "adult & female      100  adult & female     100  kept",
        "adult & male        200  adult & male       200  kept",
        "elderly & female     20  elderly & other     32  merged",
        "elderly & male       12  elderly & other     32  merged",
    ]


def test_merge_goes_up_level_by_level() -> None:
    three = Intersection({"age": AGE, "sex": SEX, "parity": by_function(parity, ("even", "odd"))})
    #        child: f even, f odd, m even, m odd; adult; elderly
    counts = [4, 6, 50, 50, 9, 9, 6, 3, 9, 0, 0, 0]
    merged = merge_small(three, counts, at_least=10)
    assert merged.names == (
        "child & male & even",
        "child & male & odd",
        "child & female & other",  # 4 + 6
        "adult & female & other",  # 9 + 9
        "other",  # men and the elderly: 9 each, too few in every family
    )
    assert merged.groups == (2, 2, 0, 1, 3, 3, 4, 4, 4, 4, 4, 4)
    assert merged.report.rows[-1] == ("elderly & male & odd", 0, "other", 18) and merged.report.too_small == ()


def test_siblings_of_the_second_level() -> None:
    """9 women and 8 men among the adults, split by parity: only all adults together are enough."""
    three = Intersection({"age": AGE, "sex": SEX, "parity": by_function(parity, ("even", "odd"))})
    merged = merge_small(three, [50, 50, 50, 50, 5, 4, 4, 4, 50, 50, 50, 50], at_least=10)
    assert merged.names[-1] == "adult & other" and merged.groups[4:8] == (8, 8, 8, 8)
    assert "other" not in merged.names


def test_nothing_to_merge() -> None:
    merged = merge_small(SEX, [30, 31])
    assert merged.names == SEX.names and merged.groups == (0, 1) and merged.report.too_small == ()


def test_one_attribute_merges_to_other() -> None:
    merged = merge_small(AGE, np.array([10, 100, 25]))
    assert merged.names == ("adult", "other") and merged.groups == (1, 0, 1)


def test_none_stays_none() -> None:
    sex = by_info("sex", values=("female", "male"), missing="none")
    assert ask(merge_small(sex, [3, 50])) == -1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(counts=[1]), r"`counts` must be 2 integers, at least 0, one for each of \('female', 'male'\), got \[1\]"),
        (dict(counts=[1, -1]), "at least 0"),
        (dict(counts=[1.5, 2.0]), "`counts` must be 2 integers"),
        (dict(at_least=0), "`at_least` must be an integer, at least 1, got 0"),
        (dict(at_least=2.5), "`at_least` must be an integer"),
        (dict(other="male"), "`other` must be a name that no group has, got 'male'"),
        (dict(other=""), "`other` must be a name that no group has, got ''"),
    ],
)
def test_arguments_of_merging(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge_small(SEX, **{"counts": [1, 2], **kwargs})


def test_name_that_would_stand_twice() -> None:
    sexes = by_info("sex", values=("female", "male", "other"))
    with pytest.raises(ValueError, match="`other` must be a name that no group has"):
        merge_small(Intersection({"age": AGE, "sex": sexes}), [1] * 9)
    assert merge_small(Intersection({"age": AGE, "sex": sexes}), [1, 1, 50] * 3, other="rest").names[-1] == "rest"


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    at_least=st.integers(1, 40),
    data=st.data(),
)
def test_merging_loses_nobody(shape: list[int], at_least: int, data: st.DataObject) -> None:
    attributes = {
        f"a{k}": by_info(f"a{k}", values=range(n), names=[f"{k}:{value}" for value in range(n)]) for k, n in enumerate(shape)
    }
    crossed = Intersection(attributes)
    n_cells = int(np.prod(shape))
    counts = data.draw(st.lists(st.integers(0, 60), min_size=n_cells, max_size=n_cells))
    merged = merge_small(crossed, counts, at_least)

    assert len(merged.groups) == n_cells and set(merged.groups) == set(range(len(merged.names)))
    totals = np.bincount(merged.groups, weights=counts)
    assert totals.sum() == sum(counts)
    for group, name in enumerate(merged.names):
        assert totals[group] >= at_least or name == "other"
        cells = [crossed.cells[k] for k in np.flatnonzero(np.array(merged.groups) == group)]
        # What a name says is true of all that it holds
        assert all(part == "other" or all(cell[k] == part for cell in cells) for k, part in enumerate(name.split(" & ")))
    for k, count in enumerate(counts):
        assert (merged.names[merged.groups[k]] == crossed.names[k]) == (count >= at_least)
    assert [row.cell for row in merged.report.rows] == list(crossed.names)
    assert [row.group_units for row in merged.report.rows] == [totals[group] for group in merged.groups]


# -- Pickling ----------------------------------------------------------------------------------------------------------


def small_patients() -> MergedAttribute:
    both = Intersection({"age": AGE, "parity": by_function(parity, ("even", "odd"))})
    return merge_small(both, [50, 50, 1, 2, 60, 60])


def make_env() -> gym.Env:
    return GroupAssignment(PatientEnv(), small_patients())


def test_attributes_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(small_patients()))
    assert again.names == small_patients().names and again.report == small_patients().report
    for age in (5, 40, 80):
        assert again(None, None, {"age": age}, 3) == small_patients()(None, None, {"age": age}, 3)
    entry = pickle.loads(pickle.dumps(by_observation(0, edges=(1,))))
    assert ask(entry, np.array([2.0])) == 1


def test_other_processes() -> None:
    env = make_vec_env(make_env, n_envs=1, vec_env_cls=SubprocVecEnv, vec_env_kwargs=dict(start_method="spawn"))
    try:
        names = env.get_attr("group_names")
        reports = env.get_attr("merge_report")
    finally:
        env.close()
    assert names == [small_patients().names] and reports == [small_patients().report]
