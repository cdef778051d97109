"""Where searches are kept, how they go on, and what comes of them."""

import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import optuna
import yaml
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState

from sb3_grpo.cli.options import UsageError
from sb3_grpo.common.files import versions, write_text
from sb3_grpo.zoo import search

HEARTBEAT: Final = 60
"""Seconds after which a process that searches says that it lives. A trial whose process has been silent for twice as long
counts as failed, and another takes its place."""

_COUNTED: Final = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED)
_PATIENCE: Final = (0.2, 0.5, 1.0, 2.0, 4.0, None)
_OTHERS_BEGAN: Final = ("already exists", "duplicate key", "UNIQUE constraint", "does not exist", "no such table")
_COMMON: Final = "common"
_COMMAND: Final = "command"


def default_storage(log_folder: str) -> str:
    """Where searches are kept unless told otherwise: an SQLite file in the log folder."""
    return f"sqlite:///{Path(log_folder) / 'searches.db'}"


def default_name(algo: str, env_id: str) -> str:
    """What a search is called unless told otherwise."""
    return f"{algo}-{env_id}"


def model_file(save_path: str, env_name: str) -> Path:
    """Where RL Zoo saves a run's model."""
    return Path(save_path) / f"{env_name}.zip"


def open_storage(storage: str) -> optuna.storages.BaseStorage:
    """A storage by its address.

    :param storage: ``sqlite:///file``, ``postgresql://user:password@host/database`` or another address of SQLAlchemy, or the
        path of a journal that ends in ``.log``
    :return: the storage
    :raises UsageError: if it cannot be opened
    """
    if storage.endswith(".log"):
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(JournalFileBackend(storage))
    if storage.startswith("sqlite:///"):
        Path(storage.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    for scheme in ("postgres://", "postgresql://"):  # the driver that the extra `postgresql` installs
        if storage.startswith(scheme):
            storage = f"postgresql+psycopg://{storage.removeprefix(scheme)}"
    try:
        return _open_database(storage)
    except ImportError as error:
        raise UsageError(
            f"--storage: {_address(storage)}: {error}; for PostgreSQL: pip install 'sb3-grpo[postgresql]'"
        ) from None
    except Exception as error:  # SQLAlchemy's and the drivers' have no class in common
        raise UsageError(f"--storage: {_address(storage)} cannot be opened: {' '.join(str(error).split())}") from None


def _open_database(address: str) -> optuna.storages.RDBStorage:
    """Open a database. Where several processes begin at once, all but one find that others make its tables: they wait."""
    for seconds in _PATIENCE:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.storages.RDBStorage(address, heartbeat_interval=HEARTBEAT)
        except Exception as error:
            if seconds is None or not any(sign in str(error) for sign in _OTHERS_BEGAN):
                raise
            time.sleep(seconds)
    raise AssertionError("unreachable")


def _address(storage: str) -> str:
    """An address without its password."""
    head, at, tail = storage.rpartition("@")
    return f"{head.split('://')[0]}://...@{tail}" if at else storage


def open_study(
    storage: str | None,
    name: str | None,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """A study, begun if it does not exist.

    :param storage: see :func:`open_storage`; None: in memory
    :param name: its name
    :param sampler: who proposes trials
    :param pruner: who ends trials early
    """
    return optuna.create_study(
        storage=None if storage is None else open_storage(storage),
        study_name=name,
        sampler=sampler,
        pruner=pruner,
        direction="maximize",
        load_if_exists=True,
    )


def load_study(storage: str, name: str) -> optuna.Study:
    """A study that exists.

    :param storage: see :func:`open_storage`
    :param name: its name
    :raises UsageError: if there is none
    """
    opened = open_storage(storage)
    try:
        return optuna.load_study(storage=opened, study_name=name)
    except KeyError:
        names = sorted(optuna.get_all_study_names(opened))
        raise UsageError(f"--study-name: got {name!r}, expected one of {names} in {_address(storage)}") from None


def describe(study: optuna.Study, common: dict[str, Any], command: str) -> None:
    """Write down what all trials of a study have in common, and the command.

    :param study: the study
    :param common: whatever their values depend on but for what is searched
    :param command: the command
    :raises UsageError: if it was begun with anything else: its trials could not be compared
    """
    known = study.user_attrs.get(_COMMON)
    if known is None:
        study.set_user_attr(_COMMON, common)
        study.set_user_attr(_COMMAND, command)
        return
    for key in sorted({*known, *common}):
        if known.get(key) != common.get(key):
            raise UsageError(
                f"--study-name: {study.study_name} was begun with {key} {known.get(key)}, but now it is {common.get(key)}; "
                "expected the same, or another --study-name"
            )


def run(study: optuna.Study, objective: Callable[[optuna.Trial], float], n_trials: int, most: int | None, n_jobs: int) -> None:
    """Try settings.

    :param study: the study
    :param objective: value of a trial
    :param n_trials: number of trials in this process
    :param most: number of trials of all processes together, which takes the place of ``n_trials``; None: no limit
    :param n_jobs: number of threads
    """
    bar = sys.stderr.isatty() and n_jobs == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if most is None:
            study.optimize(objective, n_trials=n_trials, n_jobs=n_jobs, gc_after_trial=True, show_progress_bar=bar)
            return
        optuna.storages.fail_stale_trials(study)
        if len(study.get_trials(deepcopy=False, states=_COUNTED)) < most:
            limit = MaxTrialsCallback(most, states=_COUNTED)
            study.optimize(objective, callbacks=[limit], n_jobs=n_jobs, gc_after_trial=True)


def completed(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have a value, the best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: -float(trial.value or 0.0))


class Report:
    """What a search leaves in the log folder.

    :param study: the study
    :param log_folder: RL Zoo's log folder
    :param algo: name of the algorithm
    :param env_name: name of the environment
    """

    def __init__(self, study: optuna.Study, log_folder: str, algo: str, env_name: str) -> None:
        self.study = study
        self.stem = Path(log_folder) / algo / f"search_{env_name}"

    def write(self, figures: bool) -> list[str]:
        """Write all trials as CSV and, if wanted, what Optuna draws of them as pages.

        :param figures: whether to draw
        :return: what to tell the user
        """
        self.stem.parent.mkdir(parents=True, exist_ok=True)
        files = [f"{self.stem}.csv"]
        self.study.trials_dataframe().to_csv(files[0], index=False)
        trials = completed(self.study)
        if figures and len(trials) > 1:
            files += self._draw()
        lines = [f"{self.study.study_name}: {count_of(self.study)}; {', '.join(files)}"]
        if trials:
            best = trials[0]
            found = "".join(f", {key} {value}" for key, value in best.user_attrs.items() if key in ("gap", "efficiency"))
            lines.append(f"Best: trial {best.number}, value {best.value:.4f}{found}: {search.settings_of(best.params)}")
        return lines

    def _draw(self) -> list[str]:
        pages = []
        for name in ("optimization_history", "param_importances"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # of few trials
                    figure = getattr(optuna.visualization, f"plot_{name}")(self.study)
            except (RuntimeError, ValueError):  # of trials that are all alike nothing can be said
                continue
            pages.append(f"{self.stem}_{name}.html")
            figure.write_html(pages[-1], include_plotlyjs="directory")
        return pages


def count_of(study: optuna.Study) -> str:
    """How many trials ended in which way."""
    states = [trial.state.name.lower() for trial in study.get_trials(deepcopy=False)]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))) or "no trials"


def best_as_yaml(study: optuna.Study) -> str:
    """The best trial as a file for ``zoo_configs``, which says where it comes from.

    :param study: the study
    :raises UsageError: if it has no finished trial, or is none of ours
    """
    trials, common = completed(study), study.user_attrs.get(_COMMON)
    if not trials or common is None:
        raise UsageError(f"--study-name: {study.study_name} has {count_of(study)}, expected at least one that is complete")
    best = trials[0]
    settings = {**common["settings"], **search.settings_of(best.params)}
    paragraphs = [
        f"{common['algo']} in {common['env']}: the best of {len(trials)} complete trials ({count_of(study)}), found with",
        study.user_attrs[_COMMAND],
        f"Trial {best.number}, training seed {best.user_attrs.get('seed', 'random')}: value {best.value:.4f}.",
        *_validation(common, best.user_attrs),
        f"Versions: {', '.join(f'{name} {version}' for name, version in versions().items())}.",
    ]
    lines = [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, 118, break_on_hyphens=False)]
    body = yaml.safe_dump({common["env"]: settings}, sort_keys=False)
    return "".join(f"# {line}\n" for line in lines) + body


def _validation(common: dict[str, Any], found: dict[str, Any]) -> Sequence[str]:
    if "validation" not in common:
        return []
    goal, rates = common["goal"], ", ".join(f"{name} {rate:.4f}" for name, rate in found["rates"].items())
    asked = f"efficiency at least {goal['floor']:.4f}, {goal['share']:g} of that of {goal['reference']}"
    kept = "kept" if found["efficiency"] >= goal["floor"] else "NOT KEPT by any trial"
    return [
        f"On {common['validation']['episodes']} validation episodes of seed {common['validation']['seed']}, which chose it, "
        f"so these numbers flatter it: worst group {found['worst']:.4f}, gap {found['gap']:.4f}, efficiency "
        f"{found['efficiency']:.4f}; {rates}.",
        "Goal: the highest efficiency." if goal["maximise"] == "efficiency" else f"Goal: worst group, {asked} ({kept}).",
    ]


def write_best(study: optuna.Study, file: str) -> None:
    """Write :func:`best_as_yaml` into a file, at once or not at all."""
    Path(file).resolve().parent.mkdir(parents=True, exist_ok=True)
    write_text(Path(file), best_as_yaml(study))
