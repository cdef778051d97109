"""What SB3's own loop, and ours, is spared while a model learns; all is as it was afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch as th
from stable_baselines3.common.policies import BasePolicy
from torch.distributions import Distribution
from torch.optim.adam import adam


@contextmanager
def distributions_unchecked(unchecked: bool) -> Iterator[None]:
    """
    Inside the block torch's distributions do not check their parameters and samples at every step. The setting is torch's own
    and holds for everybody; whatever it was is restored.

    :param unchecked: Whether to do anything
    """
    before = Distribution._validate_args
    if unchecked:
        Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


@contextmanager
def parameters_listed(policy: BasePolicy) -> Iterator[None]:
    """Inside the block ``policy.parameters()`` need not walk through all modules for each minibatch."""
    parameters = list(policy.parameters())

    def listed(recurse: bool = True) -> Iterator[th.nn.Parameter]:
        return iter(parameters)

    policy.parameters = listed  # type: ignore[method-assign]
    try:
        yield
    finally:
        del policy.parameters


@contextmanager
def fused_adam(optimizer: th.optim.Optimizer, promises_bits: bool) -> Iterator[None]:
    """
    Inside the block Adam makes its step in one pass over each parameter, on a CPU, unless the user has chosen how. State and
    settings of the optimizer are saved as they were.

    :param optimizer: Any optimizer; others than Adam are left alone
    :param promises_bits: Whether not to do it, for it rounds otherwise
    """
    is_adam = type(optimizer) is th.optim.Adam and not promises_bits
    groups = [
        group
        for group in (optimizer.param_groups if is_adam else ())
        if group.get("fused") is None and group.get("foreach") is None and group["params"][0].device.type == "cpu"
    ]
    for group in groups:
        group["fused"] = True
    try:
        yield
    finally:
        for group in groups:
            group["fused"] = None


def optimizer_step(optimizer: th.optim.Optimizer) -> Callable[[], None]:
    """
    A step of plain Adam that does not look up parameters, settings and state each time, which for small networks takes longer
    than the step itself. The optimizer's state is the one that is changed.

    :param optimizer: Any optimizer; others than Adam, and one that somebody has hooked into, make their own steps
    :return: Makes a step with the gradients of the moment, which stay where they are, and the settings that hold now
    """
    groups: Any = optimizer.param_groups
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    if type(optimizer) is not th.optim.Adam or hooked or len(groups) > 1 or groups[0]["amsgrad"]:
        return optimizer.step
    arguments: dict[str, Any] = {}

    def step() -> None:
        if not arguments:
            optimizer.step()  # the very first makes the state
            arguments.update(_adam_arguments(optimizer))
            return
        with th.no_grad():
            adam(**arguments)

    return step


def _adam_arguments(optimizer: th.optim.Adam) -> dict[str, Any]:
    """Of the function that makes a step of Adam, once the optimizer has made one."""
    (group,) = optimizer.param_groups
    used = [parameter for parameter in group["params"] if parameter.grad is not None]
    states = [optimizer.state[parameter] for parameter in used]
    return {
        **{name: group[name] for name in signature(adam).parameters if name in group},
        "params": used,
        "grads": [parameter.grad for parameter in used],
        "exp_avgs": [state["exp_avg"] for state in states],
        "exp_avg_sqs": [state["exp_avg_sq"] for state in states],
        "max_exp_avg_sqs": [],
        "state_steps": [state["step"] for state in states],
        "beta1": group["betas"][0],
        "beta2": group["betas"][1],
    }


def check_finite(policy: BasePolicy) -> None:
    """
    Once an update, what the distributions would have found at every step.

    :param policy: The policy
    :raises ValueError: If a parameter of the policy is not finite
    """
    for name, parameter in policy.named_parameters():
        if not bool(th.isfinite(parameter).all()):
            raise ValueError(
                f"After an update the policy's parameter {name!r} is not finite: lower `learning_rate`, or set "
                "`max_grad_norm`, or look at rewards and observations"
            )
