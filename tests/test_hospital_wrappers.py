from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from hospital_gym.observation import FIELDS, ObservationLayout
from hospital_gym.wrappers import HideFields


def rural(**kwargs: Any) -> gym.Env:
    return gym.make("Hospital-Rural-v0", **kwargs)


def test_hidden_fields_are_zero_and_the_others_untouched() -> None:
    seen, hidden = rural(), HideFields(rural(), ("mean_wait", "clock"))
    where = np.zeros(seen.observation_space.shape or (), dtype=bool)
    for field in ("mean_wait", "clock"):
        where[ObservationLayout(4).slices[field]] = True
    full, partial = seen.reset(seed=3)[0], hidden.reset(seed=3)[0]
    for _ in range(200):
        assert partial.dtype == np.float32 and hidden.observation_space.contains(partial)
        assert not partial[where].any() and full[where].any()
        np.testing.assert_array_equal(partial[~where], full[~where])
        action = int(np.flatnonzero(hidden.get_wrapper_attr("action_masks")())[0])
        full, partial = seen.step(action)[0], hidden.step(action)[0]


def test_every_field_but_the_mask_can_be_hidden() -> None:
    for field in FIELDS[:-1]:
        assert HideFields(rural(), field.name).fields == (field.name,)
    for unknown in ("wait", "action_mask"):
        with pytest.raises(ValueError, match=f"fields: got '{unknown}', expected names of queue_count, head_wait"):
            HideFields(rural(), ("clock", unknown))
    with pytest.raises(ValueError, match=r"env: got observations Box.* expected the \d+ numbers of a hospital"):
        HideFields(gym.make("CartPole-v1"), ("clock",))


def test_groups_of_ones_own() -> None:
    env = HideFields(rural(group_by=("sex",)), ("benefit_rate",))
    assert env.get_wrapper_attr("group_names") == ("female", "male")
    assert not env.reset(seed=0)[0][ObservationLayout(2).slices["benefit_rate"]].any()


@pytest.mark.filterwarnings("ignore:.*The environment .* is different from the unwrapped version")
def test_a_wrapped_hospital_is_a_proper_environment() -> None:
    env = HideFields(rural(render_mode="rgb_array"), ("head_wait",))
    check_env(env, skip_render_check=True)
    assert env.spec is not None
    again = gym.make(env.spec)
    assert isinstance(again, HideFields) and again.fields == ("head_wait",)
