"""The package as installed, and the rules about what may import what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import sb3_grpo

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("sb3_grpo", "hospital_gym", "callbacks", "zoo_configs")
MAX_LINES = 400

# What of sb3_grpo stands on top of everything else, and so may import the callbacks.
TOP = ("sb3_grpo.cli", "sb3_grpo.study", "sb3_grpo.zoo", "sb3_grpo.__main__")
ABOVE_HOSPITAL_GYM = ("torch", "stable_baselines3", "sb3_contrib", "sb3_grpo", "callbacks", "zoo_configs")
# The first rule whose prefix fits a module says what that module must not import.
FORBIDDEN_IMPORTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("hospital_gym.simulator", ("gymnasium", *ABOVE_HOSPITAL_GYM)),
    ("hospital_gym", ABOVE_HOSPITAL_GYM),
    *((top, ()) for top in TOP),
    ("sb3_grpo", ("callbacks", *TOP)),
    ("callbacks", TOP),
    ("zoo_configs", ("sb3_grpo", "hospital_gym", "callbacks")),
)
# Names of numpy.random that touch no global state.
RANDOM_WITHOUT_STATE = {"bit_generator", "BitGenerator", "Generator", "PCG64", "Philox", "SeedSequence", "default_rng"}

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    """Dotted name of a file of the repository."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Every module that a file imports, at whatever depth; ``from a import b`` counts as both ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an attribute chain, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def import_findings(module: str, tree: ast.Module) -> list[str]:
    """Imports that break the one-way order of the packages, and relative ones."""
    forbidden = next(names for prefix, names in FORBIDDEN_IMPORTS if is_within(module, prefix))
    return [
        f"{module} imports {name}"
        for name in imported_modules(tree)
        if name.startswith(".") or any(is_within(name, package) for package in forbidden)
    ]


def random_findings(module: str, tree: ast.Module) -> list[str]:
    """Uses of numpy's or Python's process-wide random state."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node.value) in ("np.random", "numpy.random"):
            if node.attr not in RANDOM_WITHOUT_STATE:
                found.append(f"{module}:{node.lineno} uses {dotted(node)}")
    for name in imported_modules(tree):
        if is_within(name, "random"):
            found.append(f"{module} imports {name}")
        elif is_within(name, "numpy.random") and name != "numpy.random" and name.split(".")[2] not in RANDOM_WITHOUT_STATE:
            found.append(f"{module} imports {name}")
    return found


def print_findings(module: str, tree: ast.Module) -> list[str]:
    """Calls of ``print`` outside the command line."""
    if is_within(module, "sb3_grpo.cli"):
        return []
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [f"{module}:{node.lineno} prints" for node in calls if dotted(node.func) == "print"]


RULES = (import_findings, random_findings, print_findings)


def findings(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    return [finding for rule in RULES for finding in rule(module, tree)]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_file_keeps_the_rules(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert findings(module_name(path), source) == []
    assert source.count("\n") <= MAX_LINES


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hospital_gym.hospital_env", "import torch as th"),
        ("hospital_gym.hospital_env", "from stable_baselines3.common import utils"),
        ("hospital_gym.heuristics", "def f():\n    import sb3_grpo"),
        ("hospital_gym.simulator.kernel", "from gymnasium import spaces"),
        ("sb3_grpo.common.objectives", "from callbacks import anything"),
        ("sb3_grpo.common.objectives", "from sb3_grpo import cli"),
        ("callbacks.logging", "import sb3_grpo.study.grid"),
        ("zoo_configs", "import sb3_grpo"),
        ("sb3_grpo.common.objectives", "from . import buffers"),
        ("hospital_gym.arrivals", "import numpy as np\nx = np.random.rand(3)"),
        ("hospital_gym.arrivals", "import numpy as np\nnp.random.seed(0)"),
        ("hospital_gym.arrivals", "from numpy.random import shuffle"),
        ("hospital_gym.arrivals", "from random import shuffle"),
        ("sb3_grpo.common.objectives", "print(1)"),
    ],
)
def test_breach_of_a_rule_is_found(module: str, source: str) -> None:
    assert findings(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sb3_grpo.cli.train", "import callbacks\nprint(1)"),
        ("sb3_grpo.zoo", "from callbacks import anything"),
        ("callbacks.logging", "from sb3_grpo.common import objectives"),
        ("sb3_grpo.common.objectives", "import torch as th\nimport hospital_gym"),
        ("hospital_gym.hospital_env", "import gymnasium as gym\nimport numpy as np\nrng: np.random.Generator"),
        ("hospital_gym.arrivals", "import numpy as np\nrng = np.random.default_rng(0)\nrng.random()"),
    ],
)
def test_what_is_allowed_is_not_found(module: str, source: str) -> None:
    assert findings(module, source) == []


def test_version_stands_in_one_place() -> None:
    version = (ROOT / "sb3_grpo" / "version.txt").read_text(encoding="utf-8").strip()
    assert sb3_grpo.__version__ == version
    assert metadata.version("sb3-grpo") == version
    for name in ("setup.cfg", "pyproject.toml", "Makefile", "docs/conf.py", "sb3_grpo/__init__.py"):
        assert version not in (ROOT / name).read_text(encoding="utf-8"), f"{name} repeats the version"


def test_entry_points_load() -> None:
    entry_points = {(point.group, point.name): point for point in metadata.distribution("sb3-grpo").entry_points}
    assert set(entry_points) == {("console_scripts", "sb3-grpo"), ("gymnasium.envs", "__root__")}
    for point in entry_points.values():
        assert callable(point.load())


def test_every_package_is_typed_and_importable() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
        __import__(package)


def test_every_public_name_exists() -> None:
    assert len(set(sb3_grpo.__all__)) == len(sb3_grpo.__all__)
    for name in sb3_grpo.__all__:
        assert hasattr(sb3_grpo, name)


def test_hospital_gym_runs_without_torch() -> None:
    code = "import sys, hospital_gym; sys.exit(any(name in sys.modules for name in ('torch', 'stable_baselines3')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_every_pinned_version_is_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split(";")[0].strip() for line in lines if line and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert all(pin.count("==") == 1 and "+" not in pin for pin in pins)
