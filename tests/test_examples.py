"""The examples of the documentation run."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def test_cartpole_groups(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["cartpole_groups.py", "--steps", "1024", "--episodes", "6"])
    runpy.run_path(str(EXAMPLES / "cartpole_groups.py"), run_name="__main__")
    printed = capsys.readouterr().out
    for word in ("left", "right", "worst group", "lam=0)", "lam=0.5)"):
        assert word in printed
    for lam in ("0", "0.5"):
        row = next(line for line in printed.splitlines() if f"lam={lam})" in line)
        cells = [cell.strip() for cell in re.split("[│|]", row.split(f"lam={lam})")[1])][1:5]
        left, right, worst, gap = map(float, cells)  # returns of CartPole: at least one step, at most 500
        assert 1 <= left <= 500 and 1 <= right <= 500
        assert worst == min(left, right) and gap == pytest.approx(abs(left - right), abs=1)  # numbers are rounded


def test_id_only_gradients(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["id_only_gradients.py", "--lam", "1", "--rows", "2000", "--steps", "2"])
    runpy.run_path(str(EXAMPLES / "id_only_gradients.py"), run_name="__main__")
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "episodes" in line or "queue" in line]
    cosines = [float(row[2]) for row in rows]
    assert len(rows) == 8
    assert min(cosines[:5]) > 0.999  # own episodes however told, and the shared queue with rewards by group
    assert max(cosines[5:]) < 0.5


def test_mimic3_stays(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    from hospital_gym.clinical.stays.files import read_stays

    monkeypatch.setattr("sys.argv", ["mimic3_stays.py", "--hours", "6", "--output", str(tmp_path / "stays.npz")])
    runpy.run_path(str(EXAMPLES / "mimic3_stays.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "150 stays, 900 hours" in printed and "female & 65-79" in printed
    assert printed.count("\nhour ") == 6 and "waited to the end" in printed
    assert len(read_stays(tmp_path / "stays.npz")) == 150


def rows_of(printed: str) -> list[list[str]]:
    """Cells of the rows of a table that was printed."""
    return [[cell.strip() for cell in line.strip("│| ").split("│")] for line in printed.splitlines() if line.startswith("│")]


def test_fair_weights(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fair_weights.py", "--batches", "150"])
    runpy.run_path(str(EXAMPLES / "fair_weights.py"), run_name="__main__")
    (_, _, alike, _), (_, _, weighted, _) = rows_of(capsys.readouterr().out)
    assert float(weighted) > 2 * float(alike)  # the rare, hard domain learns sooner


def test_latent_cases(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["latent_cases.py", "--cases", "400", "--seeds", "1"])
    runpy.run_path(str(EXAMPLES / "latent_cases.py"), run_name="__main__")
    rows = rows_of(capsys.readouterr().out)
    with_group, with_sex = (np.array([float(row[column].split()[0]) for row in rows]) for column in (4, 5))
    assert with_group[0] > 0.8 and with_group[-1] < 0.1
    assert (np.abs(with_sex) < 0.05).all()
