"""The examples of the documentation run."""

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
