"""The monitor file of environments that are stepped in one compiled call."""

import os
import time
from collections.abc import Sequence

from stable_baselines3.common.monitor import ResultsWriter
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_grpo.common.info_columns import InfoColumns


class EpisodeLog(VecEnvWrapper):
    """Writes what ``Monitor`` writes, a row for each episode, of all environments into one file, which SB3's
    ``load_results`` and RL Zoo's plots read.

    :param venv: environments whose infos hold the statistics of finished episodes
    :param folder: where ``0.monitor.csv`` goes
    :param env_id: id of the environments
    :param info_keywords: further keys of an episode's last info that are written
    """

    def __init__(self, venv: VecEnv, folder: str, env_id: str, info_keywords: Sequence[str] = ()) -> None:
        super().__init__(venv)
        self._keywords = tuple(info_keywords)
        header: dict[str, float | str] = {"t_start": time.time(), "env_id": env_id}
        self._writer = ResultsWriter(os.path.join(folder, "0.monitor.csv"), header, self._keywords)

    def reset(self) -> VecEnvObs:
        """See the parent."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """See the parent."""
        observations, rewards, dones, infos = self.venv.step_wait()
        finished = infos.finished() if isinstance(infos, InfoColumns) else [info for info in infos if "episode" in info]
        for info in finished:
            self._writer.write_row({**info["episode"], **{key: info[key] for key in self._keywords}})
        return observations, rewards, dones, infos

    def close(self) -> None:
        """See the parent."""
        self._writer.close()
        super().close()
