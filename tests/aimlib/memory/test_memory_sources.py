"""Memory sources: their values, degrees of freedom and initial values, and how fast an optimizer changes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import quick
from torch import Tensor
from torch.nn import functional

from aimlib.errors import UsageError
from aimlib.memory.initialization import initialize
from aimlib.memory.shape_rule import flatten
from aimlib.memory.sources.base import MemorySource
from aimlib.registry import memories


def source(name: str, seed: int = 0, **options: Any) -> MemorySource:
    made: MemorySource = memories.create(memories.parse({"name": name, **options}))
    initialize(made, seed)
    return made


def free_values(made: MemorySource) -> int:
    """Return the numerical rank of the memory's derivative with respect to the source's parameters."""
    names, values = zip(*made.named_parameters(), strict=True)

    def memory(*parameters: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(made, dict(zip(names, parameters, strict=True)), (1,))
        return result.flatten()

    jacobian = torch.func.jacrev(memory, argnums=tuple(range(len(values))))(*values)
    table = torch.cat([part.reshape(made.config.values, -1) for part in jacobian], dim=1)
    return int(np.linalg.matrix_rank(table.detach().numpy()))


sizes = st.fixed_dictionaries({"channels": st.integers(1, 4), "rows": st.integers(1, 5), "columns": st.integers(1, 5)})
kinds = st.sampled_from(
    [
        {"name": "conv_ones"},
        {"name": "conv_ones", "kernel": "full"},
        {"name": "dense_ones", "inputs": 3},
        {"name": "parameter"},
    ]
)


@quick
@given(kinds, sizes)
def test_the_degrees_of_freedom_equal_the_rank_of_the_derivative_of_the_memory(
    kind: dict[str, Any], size: dict[str, int]
) -> None:
    made = source(**{**kind, **size})
    assert made.degrees_of_freedom == free_values(made)


def test_the_memory_as_run_has_50176_values_and_1024_degrees_of_freedom() -> None:
    with torch.device("meta"):
        made = memories.create(memories.parse("conv_ones"))
    assert (made.config.values, made.degrees_of_freedom) == (50_176, 1_024)
    with torch.device("meta"):
        full = memories.create(memories.parse({"name": "conv_ones", "kernel": "full", "channels": 64}))
    assert full.degrees_of_freedom == full.config.values == 3_136


def test_a_full_kernel_is_a_convolution_over_ones_padded_with_zeros() -> None:
    made = source("conv_ones", kernel="full", channels=2, rows=3, columns=4)
    conv = made.get_submodule("conv")
    padded = functional.pad(torch.ones(1, 2, 3, 4), (1, 2, 1, 1))
    expected = functional.conv2d(padded, conv.weight, conv.bias)  # type: ignore[arg-type]
    torch.testing.assert_close(made(1), expected)
    assert len(made(1)[0, 0].unique()) == 12, "every position has its own value"


def test_with_a_1x1_kernel_all_positions_in_a_channel_have_the_same_value() -> None:
    memory = source("conv_ones", channels=3, rows=2, columns=5)(4)
    assert memory.shape == (1, 3, 2, 5)
    assert torch.equal(memory, memory[:, :, :1, :1].expand(1, 3, 2, 5))


def test_dense_outputs_are_in_the_order_in_which_a_memory_is_read() -> None:
    made = source("dense_ones", channels=2, rows=2, columns=3, inputs=4)
    values = made.get_submodule("dense")(torch.ones(1, 4))
    assert torch.equal(flatten(made(1)), values)


def spread(name: str, **options: Any) -> float:
    """Return the standard deviation of the initial values across seeds."""
    values = torch.stack([source(name, seed, **options).train()(1).detach().flatten() for seed in range(60)])
    return float(values.std())


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_initial_values_have_the_documented_spread(scale: float) -> None:
    size = {"channels": 32, "rows": 2, "columns": 2, "initial_scale": scale}
    assert spread("conv_ones", **size) == pytest.approx(scale, rel=0.05)
    assert spread("parameter", **size) == pytest.approx(scale, rel=0.05)
    assert spread("noise", **size) == pytest.approx(scale, rel=0.05)
    assert spread("dense_ones", **size, inputs=128) == pytest.approx(scale, rel=0.05)
    assert spread("dense_ones", **size, inputs=16) == pytest.approx(scale * math.sqrt(32 / 144), rel=0.05)
    assert 0.5 * scale < spread("conv_ones", **size, kernel="full") < scale


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({"name": "parameter", "channels": 64}, 1),
        ({"name": "conv_ones", "channels": 64}, 65),
        ({"name": "dense_ones", "channels": 64, "inputs": 32}, 33),
    ],
)
def test_one_step_of_adam_changes_a_value_as_documented(options: dict[str, Any], times: int) -> None:
    """Adam changes every weight by the learning rate, and a value is a sum of several weights and a bias."""
    made = source(**options, rows=1, columns=1)
    before = made(1).detach().clone()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
    made(1).sum().backward()
    optimizer.step()
    torch.testing.assert_close(before - made(1).detach(), torch.full_like(before, 1e-3 * times), rtol=1e-3, atol=0)


def test_noise_is_redrawn_in_training_and_fixed_in_evaluation() -> None:
    made = source("noise", channels=4, rows=2, columns=2)
    torch.manual_seed(5)
    first, second = made(3), made(3)
    assert first.shape == (1, 4, 2, 2)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(made(3), first)
    made.eval()
    assert torch.equal(made(1), made(7))
    assert torch.equal(made(1), source("noise", seed=9, channels=4, rows=2, columns=2).eval()(1))
    assert list(made.parameters()) == []
    per_image = source("noise", channels=4, rows=2, columns=2, per="image")
    drawn = per_image(3)
    assert drawn.shape == (3, 4, 2, 2)
    assert not torch.equal(drawn[0], drawn[1])
    assert per_image.eval()(3).shape == (1, 4, 2, 2)


@pytest.mark.parametrize("name", ["conv_ones", "parameter", "noise"])
@given(sizes)
def test_a_size_given_in_floats_is_the_same_as_a_size_given_in_channels(name: str, size: dict[str, int]) -> None:
    floats = size["channels"] * size["rows"] * size["columns"]
    sides = {"rows": size["rows"], "columns": size["columns"], "initial_scale": 0.5}
    by_channels = memories.parse({"name": name, "channels": size["channels"], **sides})
    assert memories.parse({"name": name, "floats": floats, **sides}) == by_channels
    assert (by_channels.values, by_channels.rows, by_channels.columns) == (floats, size["rows"], size["columns"])


def test_floats_that_do_not_fill_whole_channels_are_refused_and_the_nearest_number_is_suggested() -> None:
    with pytest.raises(UsageError, match="floats: 10 values do not fill whole channels of 2 x 3; use 12,") as said:
        memories.parse({"name": "conv_ones", "floats": 10, "rows": 2, "columns": 3})
    assert "use 12, the nearest number that does" in str(said.value)
