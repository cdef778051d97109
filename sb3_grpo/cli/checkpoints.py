"""A training that is not finished: what goes to disk now and then, so that a kill loses little."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Final, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_grpo.common import data_parallel
from sb3_grpo.common.files import write_json

_MODEL: Final = "model.zip"
_STATISTICS: Final = "vecnormalize.pkl"
_FACTS: Final = "training.json"


class Checkpoint(NamedTuple):
    """
    :param folder: where it is
    :param settings: everything that the training depends on
    :param episodes: number of episodes that the environments have begun, so that those that follow are others
    :param seconds: seconds of training so far
    """

    folder: Path
    settings: Any
    episodes: int
    seconds: float

    @property
    def model(self) -> Path:
        """File of the model."""
        return self.folder / _MODEL

    @property
    def statistics(self) -> Path | None:
        """File of the statistics of ``VecNormalize``; None if training has none."""
        path = self.folder / _STATISTICS
        return path if path.is_file() else None


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of the largest number of time steps in a folder; None if there is none."""
    numbered = [path for path in folder.glob("*") if path.name.isdecimal() and (path / _FACTS).is_file()]
    if not numbered:
        return None
    newest = max(numbered, key=lambda path: int(path.name))
    facts = json.loads((newest / _FACTS).read_text(encoding="utf-8"))
    return Checkpoint(newest, facts["settings"], facts["episodes"], facts["seconds"])


def write_checkpoint(folder: Path, model: BaseAlgorithm, settings: Any, episodes: int, seconds: float) -> None:
    """Write ``<folder>/<time steps>/`` at once or not at all, and delete the older ones.

    :param folder: folder of checkpoints
    :param model: the model, after an update
    :param settings: as in :class:`Checkpoint`, as for the next two
    :param episodes: see there
    :param seconds: see there
    """
    unfinished, finished = folder / "unfinished", folder / str(model.num_timesteps)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    model.save(unfinished / _MODEL)
    normalize = model.get_vec_normalize_env()
    if normalize is not None:
        normalize.save(str(unfinished / _STATISTICS))
    write_json(unfinished / _FACTS, {"settings": settings, "episodes": episodes, "seconds": seconds})
    older = [path for path in folder.glob("*") if path.name.isdecimal()]
    if finished in older:
        shutil.rmtree(finished)
    os.replace(unfinished, finished)
    for path in older:
        if path != finished:
            shutil.rmtree(path, ignore_errors=True)


def begun_episodes(env: VecEnv) -> int:
    """Number of the next episode that no environment of any process has begun."""
    return 1 + max(data_parallel.of_all(max(info["episode"] for info in env.unwrapped.reset_infos)))


class CheckpointCallback(BaseCallback):
    """Write a checkpoint before a rollout if the last one is long ago; in all processes, of which the first writes.

    :param folder: folder of checkpoints
    :param settings: everything that the training depends on
    :param every: time steps between two checkpoints
    :param seconds: tells the seconds of training so far
    """

    def __init__(self, folder: Path, settings: Any, every: int, seconds: Any) -> None:
        super().__init__()
        self.folder, self.settings, self.every, self.seconds = folder, settings, every, seconds
        self._written = 0

    def _on_training_start(self) -> None:
        self._written = self.num_timesteps

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps - self._written >= self.every:
            self.write()

    def _on_step(self) -> bool:
        return True

    def write(self) -> None:
        """Write one now; to be called in all processes."""
        episodes = begun_episodes(self.training_env)
        if data_parallel.rank() == 0:
            write_checkpoint(self.folder, self.model, self.settings, episodes, self.seconds())
        self._written = self.model.num_timesteps


def restored_statistics(checkpoint: Checkpoint | None, env: VecEnv) -> None:
    """Give ``VecNormalize`` around environments the statistics of a checkpoint, if both have them."""
    normalize = unwrap_vec_normalize(env)
    if checkpoint is None or normalize is None or checkpoint.statistics is None:
        return
    saved = type(normalize).load(str(checkpoint.statistics), normalize.venv)
    normalize.ret_rms = saved.ret_rms
    if normalize.norm_obs:
        normalize.obs_rms = saved.obs_rms
