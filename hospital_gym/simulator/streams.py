"""The random streams of an episode.

They are those of ``numpy.random.SeedSequence(seed, spawn_key=(episode, k))``, to the last bit. NumPy spends 10 us on each,
five of which an episode needs; here all their states are found in one compiled call. The hash is that of M. E. O'Neill
("Developing a seed_seq alternative", 2015), with the constants that NumPy's documentation of ``SeedSequence`` refers to.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from hospital_gym.simulator.compiling import announced, source_digest

_POOL: Final = 4
"""Words of 32 bits in which the hash keeps what it was given."""
_WORD: Final = 0xFFFFFFFF


@njit
def _hash(value: int, constant: int, multiplier: int) -> tuple[int, int]:
    """One word hashed, and the constant with which to hash the next."""
    value ^= constant
    constant = constant * multiplier & _WORD
    value = value * constant & _WORD
    return value ^ value >> 16, constant


@njit
def _mix(one: int, other: int) -> int:
    mixed = 0xCA01F9DD * one - 0x4973F715 * other & _WORD
    return mixed ^ mixed >> 16


def _compile_entry_points(digest: int) -> tuple[Callable[..., Any], ...]:
    @njit(cache=True)
    def write_states(words: Any, states: Any) -> int:
        """Find the states of several streams that differ in the last word.

        :param words: what they have in common, int64 of 32 bits each, at least four
        :param states: to be written: row k is what generators whose last word is k start from, (streams, 8)
        :return: digest of the sources
        """
        pool = np.zeros(_POOL, dtype=np.int64)
        for k in range(states.shape[0]):
            constant = 0x43B0D7E5
            for i in range(_POOL):
                pool[i], constant = _hash(words[i], constant, 0x931E8875)
            for source in range(len(words) + 1):
                for i in range(_POOL):
                    if source != i:
                        word = pool[source] if source < _POOL else words[source] if source < len(words) else k
                        hashed, constant = _hash(word, constant, 0x931E8875)
                        pool[i] = _mix(pool[i], hashed)
            constant = 0x8B51F9DD
            for i in range(states.shape[1]):
                states[k, i], constant = _hash(pool[i % _POOL], constant, 0x58F38DED)
        return digest

    return (write_states,)


(write_states,) = announced(*_compile_entry_points(source_digest()))


class _State(np.random.bit_generator.ISeedSequence):
    """What a generator starts from, ready-made."""

    def __init__(self, state: npt.NDArray[np.uint64]) -> None:
        self.state = state

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> npt.NDArray[Any]:
        """See NumPy."""
        return self.state


def episode_streams(seed: int, episode: int, names: Sequence[str]) -> dict[str, np.random.Generator]:
    """The random streams of one episode: the episode's child of the seed sequence, one grandchild per source of randomness.

    :param seed: seed of the sequence of episodes, >= 0
    :param episode: number of the episode, >= 0
    :param names: of the sources
    """
    words = _words(seed)
    words += [0] * (_POOL - len(words)) + _words(episode)
    states = np.empty((len(names), 8), dtype=np.int64)
    write_states(np.array(words, dtype=np.int64), states)
    pairs = states.astype(np.uint64)
    doubled = pairs[:, ::2] | pairs[:, 1::2] << np.uint64(32)
    given: list[Any] = [_State(state) for state in doubled]
    return {name: np.random.Generator(np.random.PCG64(state)) for name, state in zip(names, given, strict=True)}


def _words(number: int) -> list[int]:
    """A whole number in words of 32 bits, low ones first."""
    words = [int(number) & _WORD]
    while number := number >> 32:
        words.append(int(number) & _WORD)
    return words
