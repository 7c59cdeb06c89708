"""The results and the cost of updates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from aimlib.errors import ConfigError
from aimlib.memory.initialization import initialize
from aimlib.memory.shape_rule import channels_added
from aimlib.memory.sources.base import MemoryConfig
from aimlib.models import count_parameters
from aimlib.registry import updates
from aimlib.updates.base import MemoryUpdate, pool_to

SIZE = MemoryConfig(channels=6, rows=2, columns=3)


def update(name: str, features: tuple[int, ...], memory: MemoryConfig = SIZE, **options: Any) -> MemoryUpdate:
    made: MemoryUpdate = updates.get(name)(updates.parse({"name": name, **options}), features, memory, "layer1")
    initialize(made, 0)
    return made.eval()


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("f", "height", "hidden"), [(5, 8, 7), (3, 4, 16)])
def test_the_numbers_of_weights_follow_the_documented_formulas(f: int, height: int, hidden: int) -> None:
    c, s = SIZE.channels, SIZE.rows * SIZE.columns
    features = (f, height, 6)
    assert count_parameters(update("residual", features, hidden=hidden)) == (f + c + 3) * hidden + (hidden + 1) * c
    assert count_parameters(update("gated", features, hidden=hidden)) == (f + c + 3) * hidden + 2 * (hidden + 1) * c
    expected = 2 * c * hidden + s * hidden + c + (2 * f + 1) * hidden
    assert count_parameters(update("attention", features, hidden=hidden)) == expected
    a = channels_added(SIZE.values, height, 6)
    filters = (4, 5, 6)
    convolutions = 9 * (f + a) * 4 + 9 * 4 * 5 + 9 * 5 * 6 + 6 * c
    assert count_parameters(update("conv_sigmoid", features, filters=list(filters))) == convolutions + c + 3 * sum(
        filters
    )


def test_a_gated_memory_lies_between_the_old_memory_and_the_candidate() -> None:
    made = update("gated", (5, 4, 6), hidden=8)
    x, memory = drawn(3, 5, 4, 6), drawn(1, 6, 2, 3)
    hidden = made.get_submodule("hidden")(x, memory)
    candidate, gate = made.get_submodule("candidate")(hidden), made.get_submodule("gate")(hidden).sigmoid()
    new = made(x, memory)
    torch.testing.assert_close(new, gate * candidate + (1 - gate) * memory)
    assert bool((new <= torch.maximum(candidate, memory) + 1e-6).all())
    assert bool((new >= torch.minimum(candidate, memory) - 1e-6).all())


def test_a_residual_memory_is_the_old_memory_plus_a_change() -> None:
    made = update("residual", (5, 4, 6), hidden=8)
    with torch.no_grad():
        for parameter in made.get_submodule("write").parameters():
            parameter.zero_()
    memory = drawn(1, 6, 2, 3)
    assert torch.equal(made(drawn(3, 5, 4, 6), memory), memory.expand(3, -1, -1, -1))


def test_the_hidden_layer_equals_a_convolution_of_the_concatenation() -> None:
    hidden = update("residual", (5, 4, 6), hidden=8).get_submodule("hidden")
    x, memory = drawn(3, 5, 4, 6), drawn(3, 6, 2, 3)
    joint = torch.cat([functional.avg_pool2d(x, 2), memory], dim=1)
    weight = torch.cat([hidden.see.weight, hidden.read.weight], dim=1)  # type: ignore[union-attr, list-item]
    expected = hidden.norm(functional.conv2d(joint, weight, hidden.see.bias)).relu()  # type: ignore[union-attr, operator, arg-type]
    torch.testing.assert_close(hidden(x, memory), expected)


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_equals_the_attention_in_torch(heads: int) -> None:
    made = update("attention", (5, 4, 6), hidden=8, heads=heads)
    x, memory = drawn(3, 5, 4, 6), drawn(3, 6, 2, 3)
    tokens = x.flatten(2).transpose(1, 2)
    parts = dict(made.named_parameters())
    query = memory.flatten(2).transpose(1, 2) @ parts["query.weight"].T + parts["slots_SD"]
    key, value = (tokens @ parts[f"{name}.weight"][:, :, 0, 0].T for name in ("key", "value"))
    value = value + parts["value.bias"]

    def split(t: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(t, (8,)).view(3, -1, heads, 8 // heads).transpose(1, 2)

    gathered = functional.scaled_dot_product_attention(split(query), split(key), split(value))
    change = gathered.transpose(1, 2).reshape(3, 6, 8) @ parts["write.weight"].T + parts["write.bias"]
    torch.testing.assert_close(made(x, memory), memory + change.transpose(1, 2).view(3, 6, 2, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gated", "residual", "attention"])
def test_the_change_does_not_grow_with_the_features(name: str) -> None:
    made = update(name, (5, 4, 6), hidden=8).train()
    x, memory = drawn(3, 5, 4, 6), drawn(1, 6, 2, 3)
    assert float((made(1e4 * x, memory) - memory).abs().max().detach()) < 20


def test_attention_gives_the_slots_of_a_constant_memory_different_values() -> None:
    memory = drawn(1, 6, 1, 1).expand(1, 6, 2, 3)
    new = update("attention", (5, 4, 6), hidden=8)(drawn(1, 5, 4, 6), memory)
    assert len(new[0, 0].unique()) == 6


def test_larger_maps_are_averaged_down_before_attention() -> None:
    small, large = (update("attention", (5, 8, 8), hidden=8, most_side=side) for side in (4, 8))
    x, memory = drawn(2, 5, 8, 8), drawn(1, 6, 2, 3)
    torch.testing.assert_close(small(x, memory), small(functional.avg_pool2d(x, 2), memory))
    assert not torch.allclose(small(x, memory), large(x, memory))


@pytest.mark.parametrize("name", ["gated", "residual", "attention"])
def test_dense_features_form_a_map_with_one_position(name: str) -> None:
    made = update(name, (7,), hidden=8)
    x, memory = drawn(3, 7), drawn(1, 6, 2, 3)
    torch.testing.assert_close(made(x, memory), update(name, (7, 1, 1), hidden=8)(x[:, :, None, None], memory))


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 7), (1, 1), (1, 6), (2, 9), (3, 1), (3, 2)])
def test_pooling_averages_larger_maps_and_repeats_smaller_ones(height: int, width: int) -> None:
    x = drawn(2, 3, height, width)
    for rows, columns in ((2, 3), (4, 6), (7, 7)):
        expected = functional.adaptive_avg_pool2d(x, (rows, columns))
        torch.testing.assert_close(pool_to(x, rows, columns), expected)


@pytest.mark.parametrize(
    ("height", "width", "deterministic"), [(8, 6, True), (1, 1, True), (2, 6, True), (5, 6, False)]
)
def test_pooling_avoids_adaptive_pooling_where_possible(height: int, width: int, deterministic: bool) -> None:
    """This matters because adaptive pooling has no deterministic backward pass on CUDA."""
    x = drawn(2, 3, height, width).requires_grad_()
    with torch.profiler.profile() as profile:
        pool_to(x, 4, 3).sum().backward()  # type: ignore[no-untyped-call]
    adaptive = [event.key for event in profile.key_averages() if "adaptive" in event.key]
    assert (adaptive == []) == deterministic


def test_a_number_of_heads_that_does_not_divide_the_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match="hidden: 64 channels cannot be split into 3 heads"):
        updates.parse({"name": "attention", "heads": 3})


@pytest.mark.parametrize("name", ["gated", "residual", "attention"])
def test_multiply_adds_follow_the_documented_formulas(name: str) -> None:
    f, h, c, slots, positions = 5, 8, SIZE.channels, SIZE.rows * SIZE.columns, 4 * 6
    made = update(name, (f, 4, 6), hidden=h)
    with FlopCounterMode(display=False) as counter:
        made(drawn(3, f, 4, 6), drawn(3, c, 2, 3))
    per_position = {"gated": (f + c) * h + 2 * h * c, "residual": (f + c) * h + h * c}
    expected = {
        "attention": 2 * slots * c * h + 2 * positions * f * h + 2 * slots * positions * h,
        **{other: slots * each for other, each in per_position.items()},
    }
    assert counter.get_total_flops() == 2 * 3 * expected[name]


@pytest.mark.parametrize("name", updates.names())
@pytest.mark.parametrize("features", [(64, 112, 112), (2048, 7, 7), (2048, 112, 112)])
def test_the_default_updates_are_small_compared_with_the_networks_in_the_claim(
    name: str, features: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        made: MemoryUpdate = updates.get(name)(updates.parse(name), features, MemoryConfig(), "layer1")
        assert made(torch.zeros(2, *features), torch.zeros(1, 1024, 7, 7)).shape == (2, 1024, 7, 7)
    assert count_parameters(made) < 600_000


def test_every_slot_receives_the_same_values_from_dense_features() -> None:
    memory = drawn(1, 6, 2, 3)
    change = update("attention", (7,), hidden=8)(drawn(3, 7), memory) - memory
    torch.testing.assert_close(change, change[:, :, :1, :1].expand(3, 6, 2, 3))
    assert bool(change.abs().sum() > 0)
