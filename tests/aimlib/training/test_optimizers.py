"""Every optimizer is equivalent to torch's own with the configured options."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.profiler import profile

from aimlib.registry import optimizers


def _adam(parameters):
    return torch.optim.Adam(parameters, 0.03, (0.8, 0.999), 1e-7)


def _adamw(parameters):
    return torch.optim.AdamW(parameters, 0.03, weight_decay=0.01)


def _sgd(parameters):
    return torch.optim.SGD(parameters, 0.03, 0.9, nesterov=True)


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({"name": "adam", "learning_rate": 0.03, "beta1": 0.8, "epsilon": 1e-7}, _adam),
        ({"name": "adamw", "learning_rate": 0.03}, _adamw),
        ({"name": "sgd", "learning_rate": 0.03, "nesterov": True}, _sgd),
        ({"name": "rmsprop"}, torch.optim.RMSprop),
        (
            {"name": "rmsprop", "learning_rate": 0.03, "alpha": 0.9, "momentum": 0.5, "centered": True},
            lambda given: torch.optim.RMSprop(given, 0.03, alpha=0.9, momentum=0.5, centered=True),
        ),
        ({"name": "nadam"}, torch.optim.NAdam),
        (
            {"name": "nadam", "betas": [0.8, 0.9], "weight_decay": 0.1, "decoupled_weight_decay": True},
            lambda given: torch.optim.NAdam(given, betas=(0.8, 0.9), weight_decay=0.1, decoupled_weight_decay=True),
        ),
        ({"name": "radam"}, torch.optim.RAdam),
        ({"name": "adagrad"}, torch.optim.Adagrad),
        ({"name": "adagrad", "lr_decay": 0.1}, lambda given: torch.optim.Adagrad(given, lr_decay=0.1)),
        ({"name": "adadelta"}, torch.optim.Adadelta),
        ({"name": "adamax"}, torch.optim.Adamax),
        ({"name": "adamax", "eps": 1e-3}, lambda given: torch.optim.Adamax(given, eps=1e-3)),
    ],
)
def test_steps_match_torch(options, reference):
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    pairs = [(ours, optimizers.create(optimizers.parse(options)).build([ours])), (theirs, reference([theirs]))]
    for _ in range(3):
        for parameter, optimizer in pairs:
            optimizer.zero_grad()
            (parameter**2).sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("name", "theirs"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_channels_last_weights_are_not_copied_and_are_bitwise_identical(name, theirs, fused):
    """This includes odd numbers of weights, for which torch computes the last weights separately."""

    def steps(build):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 7, 3), nn.Conv2d(7, 5, 1), nn.Linear(3, 3))
        network.to(memory_format=torch.channels_last)
        parameters = list(network.parameters())
        optimizer = build(parameters)
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = torch.empty_like(parameter).normal_()
            with profile() as profiler:
                optimizer.step()
        assert parameters[0].shape == (7, 3, 3, 3)
        states = [value for state in optimizer.state.values() for value in state.values()]
        return [*parameters, *states], "aten::contiguous" in {event.name for event in profiler.function_events}

    found, copies = steps(optimizers.create(optimizers.parse({"name": name, "fused": fused})).build)
    decay = {"weight_decay": 0.01} if name == "adamw" else {}
    expected, _ = steps(lambda parameters: theirs(parameters, lr=1e-3, fused=fused, **decay))
    assert not copies
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one, two)
        assert one.stride() == two.stride()


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_fused_step_agrees_up_to_rounding_and_continues_from_its_state(name: str) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(1000), torch.randn(6, 1000)

    def steps(fused: bool, *, interrupted: bool = False) -> torch.Tensor:
        parameter = nn.Parameter(start.clone())
        config = optimizers.parse({"name": name, "learning_rate": 0.03, "fused": fused})
        optimizer = optimizers.create(config).build([parameter])
        assert bool(optimizer.defaults["fused"]) is fused
        for number, gradient in enumerate(gradients):
            if interrupted and number == 3:
                state = optimizer.state_dict()
                optimizer = optimizers.create(config).build([parameter])
                optimizer.load_state_dict(state)
            parameter.grad = gradient.clone()
            optimizer.step()
        return parameter.detach()

    fused = steps(True)
    torch.testing.assert_close(fused, steps(False), rtol=1e-5, atol=1e-6)
    assert torch.equal(fused, steps(True, interrupted=True))


def test_every_optimizer_is_compared_with_torch():
    named = ["adadelta", "adagrad", "adam", "adamax", "adamw", "nadam", "radam", "rmsprop", "sgd"]
    assert optimizers.names() == named
