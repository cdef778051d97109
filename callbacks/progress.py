"""Tell somebody else how far a training run is, and let them stop it."""

from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback


class ProgressCallback(BaseCallback):
    """Report the timesteps done through a function, and stop training when asked to.

    Made for training in another process: ``report`` puts a number into a queue and ``stop`` looks at an event. Time steps
    are those of ``model.num_timesteps``, so they go on where they were with ``reset_num_timesteps=False``. The first and
    the last number of a run are always reported, the ones between at most once in ``every`` time steps.

    :param report: called with the number of time steps done so far
    :param stop: asked after every step of the vectorised environment; training ends when it returns True
    :param every: least number of time steps between two reports, at least 1
    :param verbose: as for every callback of Stable-Baselines3
    :raises ValueError: if ``every`` is smaller than 1
    """

    def __init__(
        self, report: Callable[[int], object], stop: Callable[[], bool] | None = None, every: int = 1000, verbose: int = 0
    ):
        super().__init__(verbose)
        if every < 1:
            raise ValueError(f"every: got {every}, expected at least 1")
        self.report = report
        self.stop = stop
        self.every = every
        self._reported = -1

    def _on_training_start(self) -> None:
        self._reported = -1
        self._report(self.model.num_timesteps)

    def _on_step(self) -> bool:
        if self.num_timesteps - self._reported >= self.every:
            self._report(self.num_timesteps)
        return self.stop is None or not self.stop()

    def _on_training_end(self) -> None:
        self._report(self.num_timesteps)

    def _report(self, timesteps: int) -> None:
        if timesteps != self._reported:
            self._reported = timesteps
            self.report(timesteps)
