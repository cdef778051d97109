"""Stays in a file."""

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import hospital_gym  # noqa: F401
from hospital_gym.clinical.icu_stays import IcuStays
from hospital_gym.clinical.stays import load_stays, synthetic_stays
from hospital_gym.clinical.stays.files import read_stays, write_stays


def made_up() -> IcuStays:
    stays = synthetic_stays(12, hours=5)
    return replace(stays, stay_ids=np.array([f"s{k}" for k in range(12)]), patient_ids=np.arange(12) // 2)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    stays = made_up()
    write_stays(stays, tmp_path / "stays.npz")
    again = read_stays(tmp_path / "stays.npz")
    for name in ("values", "offsets", "static", "died", "stay_ids", "patient_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(stays, name))
        assert getattr(again, name).dtype == getattr(stays, name).dtype
    assert (again.channels, again.static_names, again.notes) == (stays.channels, stays.static_names, stays.notes)
    assert {key: of.tolist() for key, of in again.attributes.items()} == {
        key: of.tolist() for key, of in stays.attributes.items()
    }
    first, second = stays.split(), again.split()
    assert all(np.array_equal(first[part], second[part]) for part in first)
    assert [path.name for path in tmp_path.iterdir()] == ["stays.npz"]


def test_environments_take_the_file(tmp_path: Path) -> None:
    write_stays(synthetic_stays(40, hours=3), tmp_path / "stays.npz")
    env = gym.make("EarlyWarning-ICU-v0", data=str(tmp_path / "stays.npz"), groups="sex", split="all")
    assert len(env.unwrapped.watch) == 40  # type: ignore[attr-defined]
    assert load_stays(tmp_path / "stays.npz") is load_stays(str(tmp_path / "stays.npz"))  # read once
    with pytest.raises(FileNotFoundError):
        gym.make("EarlyWarning-ICU-v0", data=str(tmp_path / "others.npz"))


def test_what_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stays.npz"
    write_stays(made_up(), path)
    before = path.read_bytes()

    def fail(file: object, **arrays: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        write_stays(made_up(), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stays.npz"
    with pytest.raises(FileNotFoundError):
        read_stays(path)
    with pytest.raises(ValueError, match=r"expected a name that ends in \.npz"):
        write_stays(made_up(), tmp_path / "stays.csv")
    with pytest.raises(ValueError, match="stay_ids: got object"):
        write_stays(replace(made_up(), stay_ids=np.array(list("abcdefghijkl"), dtype=object)), path)
    np.savez(path, values=np.zeros(3))
    with pytest.raises(ValueError, match="is no file of stays"):
        read_stays(path)
    np.savez(path, told=np.array({}, dtype=object))  # a pickle, which could run code
    with pytest.raises(ValueError, match="is no file of stays"):
        read_stays(path)
    write_stays(made_up(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is no file of stays, or is damaged"):
        read_stays(path)
    path.write_text("not packed")
    with pytest.raises(ValueError, match="is no file of stays"):
        read_stays(path)
