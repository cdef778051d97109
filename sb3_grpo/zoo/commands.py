"""The commands. Each is RL Zoo's own and reads its options from ``sys.argv``; defaults that suit go before the user's."""

import argparse
import difflib
import importlib
import importlib.util
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import yaml

from sb3_grpo.cli.options import OneLineParser, UsageError
from sb3_grpo.common.hyperparameters import settings_file
from sb3_grpo.zoo.figures import save_figures
from sb3_grpo.zoo.trials import LEAST_SHARE, REFERENCE, Goal

LOGS: Final = "logs"
"""Where RL Zoo's ``train`` puts everything, and where ``enjoy`` looks here, too."""

FIGURES: Final = "figures"
_SEARCH_EPISODES: Final = 50
_SEARCH_EVALUATIONS: Final = 4
_SETTINGS_SUFFIXES: Final = (".yml", ".yaml", ".py")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the words after ``sb3-grpo zoo``; default: those of this process
    :return: exit status: 0 done, 2 bad options or file, 130 interrupted
    """
    command, *words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    try:
        if command not in COMMANDS:
            raise UsageError(f"got {command!r}, expected one of {', '.join(COMMANDS)}")
        if importlib.util.find_spec("rl_zoo3") is None:
            raise UsageError("RL Baselines3 Zoo is missing: pip install 'sb3-grpo[zoo]'")
        from sb3_grpo.zoo.algorithms import register

        register()
        COMMANDS[command](words)
    except UsageError as error:
        sys.stderr.write(f"sb3-grpo zoo {command}: error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"sb3-grpo zoo {command}: interrupted\n")
        return 130
    return 0


def _help() -> str:
    lines = [f"  {name:<15} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    head = ["usage: sb3-grpo zoo COMMAND [options]", "", "RL Baselines3 Zoo with group-robust algorithms and hospitals.", ""]
    return "\n".join([*head, *lines, "", "sb3-grpo zoo COMMAND --help shows the options of a command.", ""])


def _words(
    command: str, words: list[str], *options: tuple[tuple[str, ...], dict[str, Any]]
) -> tuple[argparse.Namespace, list[str]]:
    """What is needed here of the user's words, and those that are RL Zoo's."""
    wants_help = bool({"-h", "--help"} & set(words))
    parser = OneLineParser(prog=f"sb3-grpo zoo {command}", add_help=False, allow_abbrev=False)
    for names, settings in options:
        parser.add_argument(*names, **settings)
    if wants_help and options:
        own = argparse.ArgumentParser(prog=f"sb3-grpo zoo {command}", add_help=False, usage=argparse.SUPPRESS)
        group = own.add_argument_group("options here, beside those of RL Baselines3 Zoo")
        for names, settings in options:
            if "help" in settings:
                group.add_argument(*names, **settings)
        sys.stdout.write(f"{own.format_help()}\n")
    return parser.parse_known_args(words)


@contextmanager
def _as_argv(command: str, words: Sequence[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = [f"sb3-grpo zoo {command}", *words]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """RL Zoo checks its options with assertions and errors of every kind."""
    try:
        yield
    except ImportError as error:
        raise UsageError(f"{error}: pip install 'sb3-grpo[zoo]'") from error
    except (AssertionError, IndexError, OSError, ValueError) as error:
        raise UsageError(" ".join(str(error).split()) or type(error).__name__) from error


# -- Training and playing --------------------------------------------------------------------------------------------

_ALGO: Final = (("--algo",), {"default": "ppo"})
_ENV: Final = (("--env",), {"default": "CartPole-v1"})
_PACKAGES: Final = (("--gym-packages",), {"nargs": "+", "default": []})
_FOLDER: Final = (("-f", "--folder", "--log-folder"), {"default": LOGS})
_STORAGE: Final[tuple[tuple[str, ...], dict[str, Any]]] = (("--storage",), {})
_STUDY: Final[tuple[tuple[str, ...], dict[str, Any]]] = (("--study-name",), {})


def train(words: list[str]) -> None:
    """train a model, or search for settings (-optimize)"""
    known, others = _words(
        "train",
        words,
        (
            ("--maximise",),
            {
                "choices": ["worst", "efficiency"],
                "default": "worst",
                "help": "what a search in a hospital makes large (worst)",
            },
        ),
        (
            ("--min-efficiency-share",),
            {
                "type": float,
                "default": LEAST_SHARE,
                "metavar": "X",
                "help": f"share of the reference's efficiency that a trial must keep ({LEAST_SHARE})",
            },
        ),
        (
            ("--reference",),
            {"default": REFERENCE, "metavar": "NAME", "help": f"that reference: a rule, or a saved model ({REFERENCE})"},
        ),
    )
    options, _ = _words(
        "train",
        others,
        *(_ALGO, _ENV, _PACKAGES, _FOLDER),
        (("-conf", "--conf-file"), {}),
        (("-optimize", "--optimize-hyperparameters"), {"action": "store_true", "dest": "optimize"}),
    )
    if not 0 < known.min_efficiency_share < float("inf"):
        raise UsageError(f"--min-efficiency-share: got {known.min_efficiency_share}, expected a number > 0")
    goal = Goal(known.maximise, known.min_efficiency_share, known.reference)
    if not {"-h", "--help"} & set(others):
        _check_names(options)
        others = [*_train_defaults(options), *others, *_settings_option(options)]
    with _one_line_errors():
        zoo = importlib.import_module("rl_zoo3.train")
        experiment = importlib.import_module("sb3_grpo.zoo.experiment")
    command = f"sb3-grpo zoo train {shlex.join(words)}"
    zoo.ExperimentManager = partial(experiment.GroupExperiment, goal=goal, command=command)  # type: ignore[attr-defined]
    with _as_argv("train", others):
        zoo.train()


def _check_names(options: argparse.Namespace) -> None:
    """
    :raises UsageError: if there is no such algorithm or environment
    """
    from rl_zoo3.utils import ALGOS

    if options.algo not in ALGOS:
        raise UsageError(f"--algo: got {options.algo!r}, expected one of {', '.join(sorted(ALGOS))}")
    for package in options.gym_packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UsageError(f"--gym-packages: {error}") from None
    if options.env not in gym.registry:
        close = difflib.get_close_matches(options.env, gym.registry, n=1)
        hint = f"perhaps {close[0]!r}" if close else "the id of a registered environment"
        raise UsageError(f"--env: got {options.env!r}, expected {hint}")


def _is_hospital(env_id: str) -> bool:
    return "hospital_gym." in str(gym.registry[env_id].entry_point)


def _train_defaults(options: argparse.Namespace) -> list[str]:
    from sb3_grpo.zoo import studies

    if not options.optimize:
        return ["--progress"] if sys.stderr.isatty() else []
    defaults = ["--storage", studies.default_storage(options.folder)]
    defaults += ["--study-name", studies.default_name(options.algo, options.env)]
    if _is_hospital(options.env):
        defaults += ["--eval-episodes", str(_SEARCH_EPISODES), "--n-evaluations", str(_SEARCH_EVALUATIONS)]
    return defaults


def _settings_option(options: argparse.Namespace) -> list[str]:
    """``--conf-file`` with the settings of ``zoo_configs``, or what the user's short name for one means."""
    from sb3_grpo.zoo.algorithms import ALGORITHMS

    name: str | None = options.conf_file
    if name is not None:
        if options.algo in ALGORITHMS and name.isidentifier() and not Path(name).exists():
            file = settings_file(options.algo, "Hospital-v0")[0].with_name(f"{name}.yml")
            if file.is_file():
                return ["--conf-file", str(file)]
        if name.endswith(_SETTINGS_SUFFIXES) and not Path(name).is_file():
            raise UsageError(f"--conf-file: got {name!r}, expected a file that exists")
        return []
    if options.algo not in ALGORITHMS or _zoo_has_settings(options.algo, options.env):
        return []
    try:
        return ["--conf-file", str(settings_file(options.algo, options.env)[0])]
    except ValueError as error:
        raise UsageError(f"--env: {error}; pass --conf-file") from None


def _zoo_has_settings(algo: str, env_id: str) -> bool:
    """Whether RL Zoo comes with settings of its own for an algorithm in an environment."""
    package = importlib.util.find_spec("rl_zoo3")
    assert package is not None and package.origin is not None
    file = Path(package.origin).with_name("hyperparams") / f"{algo}.yml"
    return file.is_file() and env_id in yaml.safe_load(file.read_text(encoding="utf-8"))


def enjoy(words: list[str]) -> None:
    """play a trained model and say what it earns"""
    _play("enjoy", words, lambda: importlib.import_module("rl_zoo3.enjoy").enjoy())


def record_video(words: list[str]) -> None:
    """record a video of a trained model"""
    _play("record_video", words, partial(_run_module, "record_video"))


def _play(command: str, words: list[str], play: Callable[[], object]) -> None:
    options, _ = _words(command, words, _ALGO, _ENV, _PACKAGES, (("--deterministic",), {"action": "store_true"}), _FOLDER)
    defaults = ["--folder", LOGS]
    if not {"-h", "--help"} & set(words):
        _check_names(options)
        if _is_hospital(options.env):  # it has no window, and a trained policy draws its actions as it did in training
            defaults += ["--no-render"] if options.deterministic else ["--no-render", "--stochastic"]
    with _as_argv(command, [*defaults, *words]), _one_line_errors():
        play()


def _run_module(name: str) -> None:
    runpy.run_module(f"rl_zoo3.{name}", run_name="__main__", alter_sys=True)


# -- Plots -----------------------------------------------------------------------------------------------------------


def plot_train(words: list[str]) -> None:
    """draw rewards in training"""
    _plot("plot_train", words)


def all_plots(words: list[str]) -> None:
    """draw evaluations of several algorithms, with a table"""
    _plot("all_plots", words)


def plot_from_file(words: list[str]) -> None:
    """draw again what all_plots has saved"""
    _plot("plot_from_file", words)


def _plot(command: str, words: list[str]) -> None:
    """Figures become files if that is asked for, or there is no display."""
    figures = (("--figures",), {"metavar": "FOLDER", "help": f"save figures here instead of showing them ({FIGURES})"})
    options, others = _words(command, words, figures)
    with _as_argv(command, others), _one_line_errors():
        from matplotlib import pyplot as plt

        draw = getattr(importlib.import_module("rl_zoo3.plots"), command)
        if options.figures is None and plt.get_backend().lower() != "agg":
            draw()
            return
        for file in save_figures(draw, options.figures or FIGURES):
            sys.stdout.write(f"{file}\n")


# -- Settings and searches -------------------------------------------------------------------------------------------


def config(words: list[str]) -> None:
    """print the path of the settings for an environment"""
    options = _own_words("config", config, words, _ALGO, _ENV, _PACKAGES)
    _check_names(options)
    options.conf_file = None
    file = _settings_option(options)
    if not file:
        raise UsageError(f"--algo: got {options.algo!r}, expected one without settings of RL Zoo's own for {options.env}")
    sys.stdout.write(f"{file[1]}\n")


def best(words: list[str]) -> None:
    """write the best trial of a search as settings"""
    from sb3_grpo.zoo import studies

    output = (("-o", "--output"), {"metavar": "FILE", "help": "YAML file (default: print)"})
    options = _own_words("best", best, words, _ALGO, _ENV, _FOLDER, _STORAGE, _STUDY, output)
    storage = options.storage or studies.default_storage(options.folder)
    name = options.study_name or studies.default_name(options.algo, options.env)
    study = studies.load_study(storage, name)
    if options.output is None:
        sys.stdout.write(studies.best_as_yaml(study))
        return
    studies.write_best(study, options.output)
    sys.stdout.write(f"{options.output}\n")


def _own_words(
    name: str, command: Callable[..., None], words: list[str], *options: tuple[tuple[str, ...], dict[str, Any]]
) -> argparse.Namespace:
    parser = OneLineParser(prog=f"sb3-grpo zoo {name}", description=command.__doc__)
    for names, settings in options:
        parser.add_argument(*names, **settings)
    return parser.parse_args(words)


def push_to_hub(words: list[str]) -> None:
    """upload a model to the Hugging Face hub"""
    with _as_argv("push_to_hub", words):
        _run_module("push_to_hub")


def load_from_hub(words: list[str]) -> None:
    """download a model from the Hugging Face hub"""
    with _as_argv("load_from_hub", words):
        _run_module("load_from_hub")


COMMANDS: Final[dict[str, Callable[[list[str]], None]]] = {
    command.__name__: command
    for command in (
        train,
        enjoy,
        record_video,
        plot_train,
        all_plots,
        plot_from_file,
        config,
        best,
        push_to_hub,
        load_from_hub,
    )
}
