"""One training in several processes, each with environments of its own (``torch.distributed``).

Everything here does nothing as long as the process is alone. The processes make one update together: what it averages over,
gradients, advantages and groups, is averaged over the environments of all of them, so that P processes with N environments
each are one process with P * N. ``torch.distributed`` finds out if one of them dies, and the others then fail too.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import numpy as np
import torch as th
import torch.distributed as dist
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

#: How long a process waits for the others before it fails
TIMEOUT: Final = timedelta(minutes=15)

#: Arrays of a rollout buffer that the groups' state is made of; their second axis is the environment
_ROLLOUT: Final = ("group_ids", "dones", "raw_rewards", "group_rewards", "group_exposure", "advantages")

#: What has to be the same in all processes
_SAME: Final = ("n_envs", "n_steps", "batch_size", "n_epochs", "num_timesteps", "group_names", "group_critic")


def n_processes() -> int:
    """Number of processes that train together, 1 if this one is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among them; 0 writes what is written once."""
    return dist.get_rank() if n_processes() > 1 else 0


@contextmanager
def joined() -> Iterator[None]:
    """
    Inside the block this process trains with those that ``torchrun`` started beside it (environment variable ``WORLD_SIZE``).

    :raises RuntimeError: If the others do not answer
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if th.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield
        dist.barrier()  # nobody leaves while another still talks to it
    finally:
        dist.destroy_process_group()


def total(tensor: th.Tensor) -> th.Tensor:
    """
    :param tensor: A tensor of the same shape in every process; becomes the sum of them
    :return: The same tensor
    """
    if n_processes() > 1:
        dist.all_reduce(tensor)
    return tensor


def of_all(value: Any) -> list[Any]:
    """
    :param value: Anything that can be pickled
    :return: The values of all processes in order of rank
    """
    values: list[Any] = [value] * n_processes()
    if n_processes() > 1:
        dist.all_gather_object(values, value)
    return values


def share_parameters(module: th.nn.Module) -> None:
    """Give every process the parameters and buffers that the first one has.

    :param module: A module of the same kind in every process
    """
    if n_processes() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def moments(values: th.Tensor) -> th.Tensor:
    """
    :param values: Values, (n,)
    :return: Their number, sum and sum of squares, (3,) float64: of several processes they add up
    """
    exact = values.double()
    return th.stack([th.full_like(exact[0], len(values)), exact.sum(), exact.square().sum()])


def mean_and_deviation(sums: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    :param sums: What :func:`moments` returns, of more than one value
    :return: Mean and standard deviation of the values
    """
    number, first, second = sums
    mean = first / number
    return mean, ((second - number * mean.square()).clamp(min=0.0) / (number - 1)).sqrt()


def rollout_of_all(buffer: Any, rollout_starts: np.ndarray) -> tuple[Any, np.ndarray]:
    """
    :param buffer: This process's rollout
    :param rollout_starts: Whether each of its environments began the rollout with a new episode, (N,)
    :return: A buffer that holds what the groups' state is made of, from the environments of all processes; their starts
    """
    if n_processes() == 1:
        return buffer, rollout_starts
    parts = of_all({"rollout_starts": rollout_starts, **{name: getattr(buffer, name) for name in _ROLLOUT}})
    everything = copy.copy(buffer)
    everything.n_envs = buffer.n_envs * n_processes()
    for name in _ROLLOUT:
        if getattr(buffer, name) is not None:
            setattr(everything, name, np.concatenate([part[name] for part in parts], axis=1))
    return everything, np.concatenate([part["rollout_starts"] for part in parts])


class DataParallelMixin(OnPolicyAlgorithm):
    """
    Goes before an on-policy algorithm in the list of base classes. ``n_steps`` and the environments are those of each process;
    ``batch_size``, ``total_timesteps`` and ``num_timesteps`` count all processes. With a ``seed``, the environments get the
    seeds that one process with all of them would give them.

    Statistics of ``VecNormalize`` follow the process's own environments during a rollout and are merged after it.
    """

    n_steps: int
    batch_size: Any
    lam: Any
    target_kl: float | None
    latent_groups: Any
    _lean_policy: Callable[[], Any]
    _merged: list[np.ndarray]  # sums behind the statistics of VecNormalize when all processes last had the same

    def set_random_seed(self, seed: int | None = None) -> None:
        """See the parent."""
        super().set_random_seed(None if seed is None else seed + rank() * self.n_envs)

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """
        See the parent.

        :raises ValueError: If the processes do not fit together, or an argument does not go with several of them
        """
        if n_processes() > 1:
            self._check_processes(*args, **kwargs)
            share_parameters(self.policy)
            self._merged = [_sums(statistics) for statistics in running_statistics(self.env)]
        return super().learn(*args, **kwargs)

    def _check_processes(self, *args: Any, **kwargs: Any) -> None:
        count = n_processes()
        if self.batch_size % count:
            raise ValueError(f"`batch_size` must be divisible by the number of processes, {count}, got {self.batch_size}")
        if self.latent_groups is not None:
            raise ValueError("`latent_groups` must be None with several processes: each of them would find other groups")
        if self.target_kl is not None and self._lean_policy() is None:
            raise ValueError(
                f"`target_kl` must be None with several processes, got {self.target_kl}: where the update is SB3's own (see "
                "`fast`), each of them would stop by itself"
            )
        facts = {name: getattr(self, name) for name in _SAME}
        facts |= {"learn": (args[:1], kwargs.get("total_timesteps")), "lam": None if callable(self.lam) else self.lam}
        for other, values in enumerate(of_all(facts)):
            for name, value in facts.items():
                if values[name] != value:
                    raise ValueError(
                        f"`{name}` must be the same in all processes, got {value!r}, and in process {other} {values[name]!r}"
                    )

    def collect_rollouts(self, env: Any, *args: Any, **kwargs: Any) -> bool:
        """See the parent. Training ends in all processes if a callback ends it in one."""
        before = self.num_timesteps
        completed = super().collect_rollouts(env, *args, **kwargs)
        if n_processes() == 1:
            return completed
        all_completed, all_steps = zip(*of_all((completed, self.num_timesteps - before)), strict=True)
        self.num_timesteps = before + sum(all_steps)
        self._merged = merge_statistics(self._merged, running_statistics(env))
        return all(all_completed)

    def train(self) -> None:
        """See the parent. The gradient that is clipped is the average over processes."""
        if n_processes() == 1:
            return super().train()
        parameters = [parameter for parameter in self.policy.parameters() if parameter.requires_grad]
        hooks = [parameter.register_post_accumulate_grad_hook(_average_gradient) for parameter in parameters]
        batch_size, self.batch_size = self.batch_size, self.batch_size // n_processes()
        try:
            super().train()
        finally:
            self.batch_size = batch_size
            for hook in hooks:
                hook.remove()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_merged"]


def _average_gradient(parameter: th.Tensor) -> None:
    assert parameter.grad is not None
    total(parameter.grad).div_(n_processes())


def running_statistics(env: VecEnv | None) -> list[RunningMeanStd]:
    """
    :param env: Environments
    :return: The statistics of their ``VecNormalize``, if they have one: of returns, and of observations
    """
    normalize = None if env is None else unwrap_vec_normalize(env)
    if normalize is None:
        return []
    of_observations = getattr(normalize, "obs_rms", None)
    if isinstance(of_observations, dict):
        return [normalize.ret_rms, *(of_observations[key] for key in sorted(of_observations))]
    return [normalize.ret_rms, *([] if of_observations is None else [of_observations])]


def merge_statistics(before: list[np.ndarray], statistics: list[RunningMeanStd]) -> list[np.ndarray]:
    """
    Let the statistics of every process count what all processes have seen.

    :param before: What this function returned last: count, sum and sum of squares that all had then
    :param statistics: This process's statistics; changed in place
    :return: The new sums
    """
    merged = []
    for common, own in zip(before, statistics, strict=True):
        sums = common + sum(theirs - common for theirs in of_all(_sums(own)))
        own.count, own.mean = float(np.mean(sums[0])), sums[1] / sums[0]
        own.var = np.maximum(sums[2] / sums[0] - np.square(own.mean), 0.0)
        merged.append(sums)
    return merged


def _sums(statistics: RunningMeanStd) -> np.ndarray:
    """Count, sum and sum of squares, (3, ...): of several processes they add up."""
    mean, count = statistics.mean, statistics.count
    return np.stack([np.full_like(mean, count), mean * count, (statistics.var + np.square(mean)) * count])
