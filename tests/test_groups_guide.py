"""The examples of the page about groups run, and print what the page says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.latent_groups import LatentGroups

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "groups.md"


def test_examples_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    learn: Callable[..., GroupRobustPPO] = GroupRobustPPO.learn
    monkeypatch.setattr(GroupRobustPPO, "learn", lambda self, total_timesteps: learn(self, min(total_timesteps, 2048)))
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        exec(block, names)
    printed = capsys.readouterr().out
    (table,) = re.findall(r"^```text\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert printed.startswith(table)
    assert isinstance(names["latent"], LatentGroups)
    assert names["model"].latent_groups.log()["group/clusters"] == 2.0
