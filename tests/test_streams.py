"""The random streams of an episode are NumPy's."""

import numpy as np
import pytest

from hospital_gym.simulator.streams import episode_streams


@pytest.mark.parametrize("seed", [0, 5, 2**31, 2**32, 2**40 + 7, 2**70 + 3, 2**128, 2**200 + 5])
def test_streams_are_those_of_numpys_seed_sequence(seed: int) -> None:
    for episode in (0, 1, 2**31 - 1, 2**33):
        for k, stream in enumerate(episode_streams(seed, episode, "abcde").values()):
            expected = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(episode, k)))
            assert stream.bit_generator.state == expected.bit_generator.state
