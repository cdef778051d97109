"""The examples of the documentation run."""

import re
import runpy
from pathlib import Path

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
