"""Reading and checking options: whatever is wrong is said in one line, before any work begins."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NoReturn

import gymnasium as gym

from hospital_gym.registration import register_envs
from hospital_gym.scenarios import SCENARIOS, Scenario, load_scenario

ALL: Final = "all"
_MOST_SEED: Final = 2**31 - 1


class UsageError(Exception):
    """An option that cannot be used; the message names option, value and what is accepted."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line (the usage is one ``--help`` away), with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit."""
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        raise SystemExit(2)


@dataclass(frozen=True)
class Hospital:
    """A hospital as named on the command line.

    :param name: its name, as in tables and folder names
    :param env_id: id of its environment
    :param scenario: its numbers
    :param file: the YAML file it was read from; None for one of the four
    :param arrivals: CSV file of arrivals to replay; None to draw them
    :param arrival_windows: number of different episodes in that file; None without one
    :param arrivals_per_day: mean arrivals a day in that file; None without one
    """

    name: str
    env_id: str
    scenario: Scenario
    file: str | None
    arrivals: str | None
    arrival_windows: int | None = None
    arrivals_per_day: float | None = None

    @property
    def replay_note(self) -> str | None:
        """What whoever replays arrivals has to know; None if they are drawn."""
        if self.arrivals is None or self.arrivals_per_day is None:
            return None
        load = self.arrivals_per_day * self.scenario.mean_stay_hours / 24 / sum(self.scenario.beds)
        return (
            f"{self.name}: {Path(self.arrivals).name} holds {self.arrival_windows} different windows of arrivals; episodes "
            "beyond that number, and training, repeat them (what the file does not record is drawn anew). "
            f"{self.arrivals_per_day:.3g} arrivals a day, each a patient who needs a bed, are an offered load of {load:.2f} "
            f"of all beds here, which were made for {self.scenario.requests_per_day:.3g} a day"
        )

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """Keyword arguments for ``gym.make(env_id)``."""
        kwargs: dict[str, Any] = {} if self.file is None else {"scenario": self.scenario}
        return kwargs if self.arrivals is None else {**kwargs, "arrivals": self.arrivals}

    def make_env(self) -> gym.Env:
        """A new environment, without Gymnasium's checks of every step (tests run them)."""
        register_envs()
        return gym.make(self.env_id, disable_env_checker=True, **self.env_kwargs)


def add_hospital_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--scenario`` and ``--arrivals``."""
    add_scenario_option(parser, default)
    parser.add_argument("--arrivals", metavar="CSV", help="replay the arrivals of this file instead of drawing them")


def add_scenario_option(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--scenario``."""
    names = ", ".join(SCENARIOS)
    parser.add_argument(
        "--scenario",
        default=default,
        metavar="NAME",
        help=f"hospital: {names}, an id such as Hospital-Urban-v0, a YAML file, or 'all' for the four (%(default)s)",
    )


def add_run_options(parser: argparse.ArgumentParser, episodes: int, processes: bool = True) -> None:
    """Add ``--episodes``, ``--seed`` and, if wanted, ``--processes``."""
    parser.add_argument(
        "--episodes", type=whole_number(1), default=episodes, metavar="N", help="evaluation episodes (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, _MOST_SEED), default=0, metavar="N", help="seed of everything (%(default)s)"
    )
    if processes:
        parser.add_argument(
            "--processes", type=whole_number(1), default=2, metavar="N", help="processes at a time (%(default)s)"
        )


def read_hospitals(args: argparse.Namespace) -> list[Hospital]:
    """The hospitals that ``--scenario`` and ``--arrivals`` mean; each environment has been made once to check them.

    :raises UsageError: if an option names nothing usable
    """
    names = list(SCENARIOS) if args.scenario == ALL else [args.scenario]
    return [_read_hospital(name, args.arrivals) for name in names]


def _read_hospital(name: str, arrivals: str | None) -> Hospital:
    try:
        scenario = load_scenario(name)
    except (OSError, ValueError) as error:
        raise UsageError(f"--scenario: {_one_line(error).removeprefix('scenario: ')}; or 'all' for the four") from None
    is_file = scenario.name not in SCENARIOS or scenario != SCENARIOS[scenario.name]
    env_id = "Hospital-v0" if is_file else f"Hospital-{scenario.name}-v0"
    if arrivals is not None:
        if not Path(arrivals).is_file():
            raise UsageError(f"--arrivals: got {arrivals!r}, expected a CSV file that exists")
        arrivals = str(Path(arrivals).resolve())
    hospital = Hospital(scenario.name, env_id, scenario, name if is_file else None, arrivals)
    try:
        env = hospital.make_env()
        windows, file = env.get_wrapper_attr("arrival_windows"), env.get_wrapper_attr("simulator").arrivals
        env.close()
    except (OSError, ValueError) as error:
        option = "--scenario" if arrivals is None else "--arrivals"
        raise UsageError(f"{option}: {_one_line(error)}") from None
    return replace(hospital, arrival_windows=windows, arrivals_per_day=None if file is None else file.arrivals_per_day)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """An argparse type: a whole number from ``least`` to ``most``; ``1e6`` and ``1_000_000`` are accepted too."""
    accepted = f"a whole number >= {least}" if most is None else f"a whole number from {least} to {most}"

    def parse(text: str) -> int:
        try:
            number = float(text) if "e" in text.lower() else int(text)
            whole = int(number)
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {accepted}") from None
        if whole != number or whole < least or (most is not None and whole > most):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {accepted}")
        return whole

    return parse


def make_folder(path: str, option: str) -> Path:
    """Make a folder for results.

    :raises UsageError: if that is impossible
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{option}: got {path!r}, expected a folder that can be written: {error.strerror}") from None
    return folder
