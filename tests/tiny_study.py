"""A study of hospitals that takes seconds."""

from pathlib import Path
from typing import Any

import yaml

from sb3_grpo.cli import main

TINY: dict[str, Any] = {
    "task": "hospital",
    "protocol": {"lam": {"Tiny": 0.3}, "seeds": 2, "validation_episodes": 4, "test_episodes": 6, "candidates": [0.3]},
    "scenarios": [
        {
            "name": "Tiny",
            "base": "Rural",
            "set": {"horizon_hours": 96, "counted_from": 0, "counted_tail": 24, "burn_in_hours": 24},
        }
    ],
    "checkpoints": 2,
    "checkpoint_episodes": 4,
    "training": {
        "n_timesteps": 512,
        "n_envs": 4,
        "n_steps": 64,
        "batch_size": 128,
        "n_epochs": 1,
        "fast": True,
        "policy_kwargs": {"net_arch": [8]},
        "callback": [{"callbacks.WarmStartCallback": {"rule": "c-mu", "n_steps": 20, "n_epochs": 2, "critic_steps": 256}}],
    },
    "models": [{"lam": [0, "chosen"]}],
    "rules": ["triage"],
    "elsewhere": [{"name": "tau x 2", "multiply": {"benefit_tau": 2}}],
}


def written(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """The grid's file.

    :param folder: where it goes
    :param changes: keys that differ; None leaves one out
    """
    content = {key: value for key, value in {**TINY, **(changes or {})}.items() if value is not None}
    path = folder / "tiny.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def study(grid: Path, out: Path, *options: str) -> int:
    """Run ``sb3-grpo study`` in this process."""
    return main(["study", str(grid), "--out", str(out), "--processes", "1", *options])


def results(out: Path) -> dict[str, bytes]:
    """Every file of the results by name."""
    return {path.name: path.read_bytes() for path in sorted((out / "results").iterdir())}
