"""Random numbers that are found by their place: number t of episode k of a seed, whatever was done before.

The generator is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): number t of
a stream is a hash of its key plus t + 1 times a constant. So numbers of many episodes are found in one call, in any order, and
all that a snapshot needs to hold is a key and a place.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_UNIT: Final = 2.0**-53


def words(keys: Keys, places: npt.NDArray[np.integer]) -> Keys:
    """
    :param keys: (n,) keys of streams
    :param places: (n,) number of the word in its stream, from 0 on
    :return: (n,) words of 64 bits, each value equally likely
    """
    # Arrays of unsigned numbers wrap around silently, as they must here
    hashed = keys + (places.astype(np.uint64) + np.uint64(1)) * _STEP
    hashed = (hashed ^ (hashed >> np.uint64(30))) * _FIRST
    hashed = (hashed ^ (hashed >> np.uint64(27))) * _SECOND
    return np.asarray(hashed ^ (hashed >> np.uint64(31)))


def uniforms(keys: Keys, places: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """
    :param keys: (n,) keys of streams
    :param places: (n,) number in the stream, from 0 on
    :return: (n,) multiples of 2^-53 in [0, 1)
    """
    return (words(keys, places) >> np.uint64(11)).astype(np.float64) * _UNIT


def seed_keys(seeds: npt.ArrayLike, purpose: int = 0) -> Keys:
    """
    :param seeds: (n,) whole numbers >= 0
    :param purpose: number of the purpose: streams of one seed for different purposes have nothing in common
    :return: (n,) keys of streams
    """
    sequences = (np.random.SeedSequence(int(seed), spawn_key=(purpose,)) for seed in np.atleast_1d(seeds))
    return np.array([sequence.generate_state(1, np.uint64)[0] for sequence in sequences], dtype=np.uint64)
