"""The examples of the pages about evaluation and callbacks run, one after the other."""

import re
from pathlib import Path
from typing import Any

import pytest

GUIDES = Path(__file__).parents[1] / "docs" / "guide"


def run_page(name: str) -> dict[str, Any]:
    """The names that a page's Python blocks leave."""
    names: dict[str, Any] = {}
    text = (GUIDES / name).read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        exec(block, names)
    return names


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_page("evaluation.md")
    assert "triage" in capsys.readouterr().out
    assert names["report"].evaluations.group_names == ("left", "right")
    assert Path("report.html").stat().st_size > 10_000


def test_callbacks(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_page("callbacks.md")
    assert "critical" in capsys.readouterr().out
    assert names["found"]["timesteps"].tolist() == [2048, 4096]
    assert len(Path("runs/guide/fairness.csv").read_text(encoding="utf-8").splitlines()) > 1
    assert Path("runs/guide/best_model.zip").is_file() == bool(names["found"]["is_best"].any())
