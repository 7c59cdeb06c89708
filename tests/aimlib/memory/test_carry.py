"""With `carry`, each batch passes a memory on to the next batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_runs import AIM, SHAPE, data_set, model, run_config
from torch import Tensor

from aimlib.config import CarryConfig
from aimlib.errors import ConfigError
from aimlib.memory.attach import AimNetwork
from aimlib.memory.carry import Carry
from aimlib.memory.sources.base import MemoryConfig
from aimlib.models import build, summarize
from aimlib.registry import updates
from aimlib.training.loop import train

SIZE = MemoryConfig(channels=2, rows=1, columns=3)


def memories(count: int, batch: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, 2, 1, 3, generator=generator) for _ in range(count)]


def test_the_carried_memory_is_a_moving_average_of_batch_means() -> None:
    carry = Carry(CarryConfig(decay=0.8), SIZE)
    seen = memories(5)
    for memory in seen:
        carry.keep(memory)
    means = [memory.mean(dim=0, keepdim=True) for memory in seen]
    expected = 0.8**4 * means[0] + sum(0.2 * 0.8 ** (4 - i) * means[i] for i in range(1, 5))
    torch.testing.assert_close(carry.carried_1CHW, expected)
    assert int(carry.batches) == 5


def test_the_first_batch_starts_from_the_source() -> None:
    carry = Carry(CarryConfig(share=0.5), SIZE)
    start, memory = memories(2, batch=1)
    assert torch.equal(carry.mix(start), start)
    carry.keep(memory)
    torch.testing.assert_close(carry.mix(start), 0.5 * start + 0.5 * memory)


def test_evaluation_reads_the_carried_memory_and_never_changes_it() -> None:
    carry = Carry(CarryConfig(), SIZE)
    first, second = memories(2)
    carry.keep(first)
    before = carry.carried_1CHW.clone()
    carry.eval().keep(second)
    assert torch.equal(carry.carried_1CHW, before)
    assert int(carry.batches) == 1


def test_gradients_do_not_flow_from_batch_to_batch() -> None:
    carry = Carry(CarryConfig(share=0.25), SIZE)
    start = torch.ones(1, 2, 1, 3, requires_grad=True)
    carry.keep(memories(1)[0].requires_grad_())
    assert not carry.carried_1CHW.requires_grad
    carry.mix(start).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(start.grad, torch.full_like(start, 0.75))


def network(update: str | None = "conv_sigmoid", **options: Any) -> AimNetwork:
    chosen = {**AIM, "update": update} if update != "conv_sigmoid" else AIM
    made = build(model(**{**chosen, "carry": {"decay": 0.5}, **options}), SHAPE, 0)
    assert isinstance(made, AimNetwork)
    return made


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("update", [None, *updates.names()])
def test_carry_works_with_every_update(update: str | None) -> None:
    carrying = network(update)
    assert carrying.carry is not None
    x = images()
    torch.autograd.backward(carrying.train()(x).sum())
    after_one = carrying.carry.carried_1CHW.clone()
    assert bool(after_one.isfinite().all())
    carrying(x)
    assert torch.equal(carrying.carry.carried_1CHW, after_one) == (update is None)
    carrying.eval()
    with torch.no_grad():
        assert torch.equal(carrying(x), carrying(x)), "evaluation does not change the state"
        alone = torch.cat([carrying(x[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(carrying(x), alone, rtol=1e-3, atol=1e-4)


def test_without_updates_the_carried_memory_is_a_delayed_average_of_the_source() -> None:
    carrying, plain = network(None), build(model(**{**AIM, "update": None}), SHAPE, 0)
    x = images()
    torch.testing.assert_close(carrying.train()(x), plain.train()(x))
    torch.testing.assert_close(carrying(x), plain(x))


def test_state_dicts_and_copies_contain_the_carried_memory() -> None:
    one, two = network(), network()
    one.train()(images())
    assert {"carry.carried_1CHW", "carry.batches"} <= set(one.state_dict())
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.equal(one.eval()(images()), two.eval()(images()))
    other = copy.deepcopy(one)
    other.train()(images())
    assert one.carry is not None
    assert other.carry is not None
    assert not torch.equal(one.carry.carried_1CHW, other.carry.carried_1CHW)


def test_carry_works_in_bfloat16() -> None:
    carrying = network().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(2):
            assert bool(carrying(images()).isfinite().all())
    assert carrying.carry is not None
    assert carrying.carry.carried_1CHW.dtype == torch.float32
    assert network().to(torch.bfloat16)(images().bfloat16()).dtype == torch.bfloat16


def test_carry_works_on_the_meta_device_and_in_a_run() -> None:
    options = {**AIM, "carry": {}}
    assert summarize(model(**options), SHAPE, 2).parameters == summarize(model(**AIM), SHAPE, 2).parameters + extra()
    outcome = train(run_config(model=options), data_set())
    assert outcome.status == "finished"


def extra() -> int:
    """Return the number of parameters of the update whose result only the next batch reads."""
    carrying, plain = network(), build(model(**AIM), SHAPE, 0)
    unread = set(carrying.updates) - set(plain.updates)  # type: ignore[arg-type]
    return sum(p.numel() for name in unread for p in carrying.updates[name].parameters())


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"decay": -0.1}, {"share": 0.0}, {"share": 1.1}])
def test_options_that_are_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="carry"):
        model(**{**AIM, "carry": options})


def test_carry_without_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="carry: no effect"):
        model(carry={})
