"""What training is spared changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th

from sb3_grpo.common.loop_savings import optimizer_step

OPTIMIZERS: dict[str, Callable[[Any], th.optim.Optimizer]] = {
    "Adam": lambda parameters: th.optim.Adam(parameters, lr=0.01, eps=1e-5),
    "fused": lambda parameters: th.optim.Adam(parameters, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1, fused=True),
    "foreach": lambda parameters: th.optim.Adam(parameters, lr=0.01, maximize=True, foreach=True),
    "largest second moment": lambda parameters: th.optim.Adam(parameters, lr=0.01, amsgrad=True),
    "two rates": lambda parameters: th.optim.Adam([{"params": parameters[:1], "lr": 0.1}, {"params": parameters[1:]}]),
    "decoupled": lambda parameters: th.optim.AdamW(parameters, lr=0.01),
    "SGD": lambda parameters: th.optim.SGD(parameters, lr=0.1, momentum=0.9),
}


def trained(make: Callable[[Any], th.optim.Optimizer], spared: bool, began: int = 0) -> tuple[list[th.Tensor], Any]:
    """Parameters and state after some steps, of which ``began`` are the optimizer's own."""
    th.manual_seed(0)
    parameters = [th.nn.Parameter(th.randn(shape)) for shape in ((3, 2), (2,), (5,))]
    optimizer = make(parameters)
    for parameter in parameters[:2]:  # the last is not used
        parameter.grad = th.zeros_like(parameter)
    step: Callable[[], Any] = optimizer.step
    for number in range(7):
        if spared and number == began:
            step = optimizer_step(optimizer)
        for parameter in parameters[:2]:
            assert parameter.grad is not None
            parameter.grad.copy_(th.randn_like(parameter))
        step()
    return [parameter.detach() for parameter in parameters], optimizer.state_dict()


@pytest.mark.parametrize("began", [0, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_the_optimizer(name: str, began: int) -> None:
    expected, expected_state = trained(OPTIMIZERS[name], spared=False)
    got, state = trained(OPTIMIZERS[name], spared=True, began=began)
    assert all(th.equal(first, second) for first, second in zip(expected, got, strict=True))
    assert state["param_groups"] == expected_state["param_groups"]
    for number, values in expected_state["state"].items():
        for key, value in values.items():
            assert value is None or th.equal(value, state["state"][number][key])


def test_hooks_of_an_optimizer_are_called() -> None:
    calls = []
    parameter = th.nn.Parameter(th.ones(2))
    parameter.grad = th.ones(2)
    optimizer = th.optim.Adam([parameter])
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    step = optimizer_step(optimizer)
    step(), step()
    assert calls == [1, 1]
