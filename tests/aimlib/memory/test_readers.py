"""A reader has the same outputs and gradients as the layer over the concatenation that the post describes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import quick
from torch import Tensor, nn
from torch.autograd.profiler import profile

from aimlib.errors import UsageError
from aimlib.memory import ConvReader, CurrentMemory, LinearReader, channels_added, read_map
from aimlib.memory.shape_rule import flatten

DTYPES = st.sampled_from([torch.float32, torch.float64])


def held(memory: Tensor) -> CurrentMemory:
    current = CurrentMemory()
    current.write(memory)
    return current


def gradients(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return list(torch.autograd.grad((output * weights).sum(), inputs))


def assert_same(ours: list[Tensor], theirs: list[Tensor], dtype: torch.dtype) -> None:
    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    for one, two in zip(ours, theirs, strict=True):
        # The tolerance is relative to the largest entry, because the rounding error of a sum depends on its terms, not
        # its result.
        assert (one - two).abs().max() <= tolerance * max(1.0, float(two.detach().abs().max()))


@quick
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.sampled_from([(0, 0), (1, 1), (2, 0), "same", "valid"]),
    dilation=st.sampled_from([(1, 1), (2, 1)]),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    memory_shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    last=st.booleans(),
    bias=st.booleans(),
    dtype=DTYPES,
)
def test_a_convolution_reader_equals_the_concatenated_convolution(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: str | tuple[int, int],
    dilation: tuple[int, int],
    mode: str,
    size: tuple[int, int],
    memory_shape: tuple[int, int, int, int],
    last: bool,
    bias: bool,
    dtype: torch.dtype,
) -> None:
    if padding == "same":
        stride = (1, 1)
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 5, kernel, stride, padding, dilation, bias=bias, padding_mode=mode, dtype=dtype)
    x = torch.randn(3, 3, *size, dtype=dtype)
    if last:
        x, plain = x.contiguous(memory_format=torch.channels_last), plain.to(memory_format=torch.channels_last)
    x.requires_grad_()
    memory = torch.randn(memory_shape, dtype=dtype, requires_grad=True)
    added = channels_added(memory[0].numel(), *size)
    reader = ConvReader(plain, added, held(memory))
    nn.init.normal_(reader.read_weight)
    whole = reader.concatenated()

    ours, theirs = reader(x), whole(read_map(memory, x))
    assert_same([ours], [theirs], dtype)
    own = [x, memory, reader.weight, reader.read_weight, *([reader.bias] if bias else [])]
    found = gradients(ours, own)
    x_grad, memory_grad, weight, *rest = gradients(theirs, [x, memory, *whole.parameters()])
    assert_same(found, [x_grad, memory_grad, weight[:, :3], weight[:, 3:], *rest], dtype)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_shared_by_all_images_is_added_like_broadcasting(
    layout: torch.memory_format, dtype: torch.dtype
) -> None:
    """The results, including gradients, are bitwise identical for every way of summing over images."""
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 16, 3, padding=1, dtype=dtype).to(memory_format=layout)
    x = torch.randn(9, 3, 8, 8).to(dtype).contiguous(memory_format=layout)
    memory = torch.randn(1, 8, 4, 4).to(dtype).requires_grad_()
    reader = ConvReader(plain, channels_added(128, 8, 8), held(memory))
    nn.init.normal_(reader.read_weight)
    inputs = [memory, reader.weight, reader.read_weight]

    ours, theirs = reader(x), reader.plain()(x) + reader.read(8, 8)
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()
    for one, two in zip(gradients(ours, inputs), gradients(theirs, inputs), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((1, 1), (1, 1), (0, 0)), ((1, 1), (2, 2), "valid"), ((3, 3), (1, 1), (1, 1)), ((3, 2), (2, 1), (1, 0))],
)
def test_a_wide_memory_is_read_by_a_matrix_product(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: str | tuple[int, int],
    images: int,
    layout: torch.memory_format,
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 256, kernel, stride, padding, bias=False, dtype=torch.float64)
    x = torch.randn(3, 3, 4, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    memory = torch.randn(images, 2**11, 4, 4, dtype=torch.float64, requires_grad=True)
    readers = [
        ConvReader(plain, 2**11, held(memory), wide=wide).to(memory_format=layout)  # type: ignore[call-overload]
        for wide in (True, False)
    ]
    nn.init.normal_(readers[0].read_weight)
    readers[1].load_state_dict(readers[0].state_dict())

    outputs = [reader(x) for reader in readers]
    assert_same([outputs[0]], [outputs[1]], torch.float64)
    assert outputs[0].stride() == outputs[1].stride()
    found = [
        gradients(output, [x, memory, reader.weight, reader.read_weight])
        for output, reader in zip(outputs, readers, strict=True)
    ]
    assert_same(*found, torch.float64)
    for reader, convolutions in zip(readers, (1, 2), strict=True):
        with profile() as profiler:
            reader(x)
        assert [event.name for event in profiler.function_events].count("aten::convolution") == convolutions


@quick
@given(
    shape=st.sampled_from([(3,), (3, 4), (3, 2, 2)]),
    images=st.sampled_from([1, 3]),
    bias=st.booleans(),
    dtype=DTYPES,
)
def test_a_dense_reader_equals_the_concatenated_dense_layer(
    shape: tuple[int, ...], images: int, bias: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(6, 5, bias=bias, dtype=dtype)
    x = torch.randn(*shape, 6, dtype=dtype, requires_grad=True)
    memory = torch.randn(images, 2, 2, 3, dtype=dtype, requires_grad=True)
    reader = LinearReader(plain, 12, held(memory))
    nn.init.normal_(reader.read_weight)
    whole = reader.concatenated()
    flat = flatten(memory).view(images, *[1] * (len(shape) - 1), 12).expand(*shape, 12)

    ours, theirs = reader(x), whole(torch.cat([x, flat], dim=-1))
    assert_same([ours], [theirs], dtype)
    found = gradients(ours, [x, memory, reader.weight, reader.read_weight, *([reader.bias] if bias else [])])
    x_grad, memory_grad, weight, *rest = gradients(theirs, [x, memory, *whole.parameters()])
    assert_same(found, [x_grad, memory_grad, weight[:, :6], weight[:, 6:], *rest], dtype)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_converting_a_convolution_to_a_concatenated_layer_and_back_is_exact(mode: str) -> None:
    torch.manual_seed(0)
    whole = nn.Conv2d(7, 4, (3, 2), (2, 1), (1, 0), (1, 2), padding_mode=mode, dtype=torch.float64)
    memory = CurrentMemory()
    reader = ConvReader.from_concatenated(whole, 3, memory)
    again = reader.concatenated()
    assert str(again) == str(whole)
    assert torch.equal(again.weight, whole.weight)
    assert torch.equal(again.bias, whole.bias)
    assert reader.memory is memory
    assert "memory_channels=3" in str(reader)
    whole.weight.data.zero_()
    assert again.weight.abs().sum() > 0  # the parameters are copies
    assert reader.weight.abs().sum() > 0


def test_converting_a_dense_layer_to_a_concatenated_layer_and_back_is_exact() -> None:
    whole = nn.Linear(9, 4, bias=False)
    reader = LinearReader.from_concatenated(whole, 5, CurrentMemory())
    again = reader.concatenated()
    assert str(again) == str(whole)
    assert torch.equal(again.weight, whole.weight)
    assert "memory_values=5" in str(reader)


def test_a_reader_keeps_the_parameters_of_its_layer() -> None:
    conv, linear = nn.Conv2d(2, 3, 1), nn.Linear(4, 2)
    for layer, reader in (
        (conv, ConvReader(conv, 2, CurrentMemory())),
        (linear, LinearReader(linear, 2, CurrentMemory())),
    ):
        assert reader.weight is layer.weight
        assert reader.bias is layer.bias
        assert list(reader.state_dict()) == ["weight", "bias", "read_weight"]


def test_a_grouped_convolution_is_refused() -> None:
    with pytest.raises(
        UsageError, match="groups=2 cannot read a memory, because each group sees only a part of the input"
    ):
        ConvReader(nn.Conv2d(4, 4, 3, groups=2), 1, CurrentMemory())
    with pytest.raises(UsageError, match="groups=2"):
        ConvReader.from_concatenated(nn.Conv2d(4, 4, 3, groups=2), 1, CurrentMemory())


def test_more_memory_than_inputs_is_refused() -> None:
    with pytest.raises(UsageError, match="the memory cannot add 4 of 4 input channels"):
        ConvReader.from_concatenated(nn.Conv2d(4, 4, 3), 4, CurrentMemory())
    with pytest.raises(UsageError, match="the memory cannot add 5 of 4 input features"):
        LinearReader.from_concatenated(nn.Linear(4, 4), 5, CurrentMemory())


def test_a_different_input_size_is_refused() -> None:
    reader = ConvReader(nn.Conv2d(1, 1, 1), 4, held(torch.zeros(1, 4, 2, 2)))
    assert tuple(reader(torch.zeros(2, 1, 2, 2)).shape) == (2, 1, 2, 2)
    with pytest.raises(
        UsageError, match=r"adds 1 channel at 4 x 4, but this layer expects 4; .* accepts only the input size"
    ):
        reader(torch.zeros(2, 1, 4, 4))


def test_reading_outside_a_forward_pass_is_refused() -> None:
    for reader, x in (
        (ConvReader(nn.Conv2d(1, 1, 1), 1, CurrentMemory()), torch.zeros(1, 1, 2, 2)),
        (LinearReader(nn.Linear(2, 1), 1, CurrentMemory()), torch.zeros(1, 2)),
    ):
        with pytest.raises(RuntimeError, match="outside a forward pass of its AimNetwork"):
            reader(x)


def test_readers_work_in_bfloat16() -> None:
    memory = held(torch.randn(1, 2, 2, 2))
    conv = ConvReader(nn.Conv2d(1, 3, 3, padding=1, dtype=torch.bfloat16), 2, memory)
    linear = LinearReader(nn.Linear(4, 3, dtype=torch.bfloat16), 8, memory)
    nn.init.ones_(conv.read_weight)
    assert conv.read_weight.dtype == torch.bfloat16
    out = conv(torch.randn(2, 1, 2, 2, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()
    assert linear(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
    float_conv = ConvReader(nn.Conv2d(1, 3, 1), 2, memory)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float_conv(torch.randn(2, 1, 2, 2)).dtype == torch.bfloat16


FEW_CHANNELS = """
import sys
import torch
from torch import nn
from aimlib.memory import ConvReader, CurrentMemory
torch.set_num_threads(2)
torch.manual_seed(0)
x = torch.randn(4, 16, 28, 28).contiguous(memory_format=torch.channels_last)
memory, current = torch.randn(4, 4, 28, 28, requires_grad=True), CurrentMemory()  # per image, as after an update
reader = ConvReader(nn.Conv2d(16, 32, 1, stride=2), 4, current).to(memory_format=torch.channels_last)
nn.init.normal_(reader.read_weight)
def gradients():
    current.write(memory)
    return torch.autograd.grad(reader(x).square().sum(), [reader.weight, reader.read_weight, memory])
with torch.backends.mkldnn.flags(enabled=False):
    expected = gradients()
passes = int(sys.argv[1])
for _ in range(passes):
    for ours, theirs in zip(gradients(), expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
print(f"the same {passes} times")
"""


# More chances for a rare fault to occur.
@pytest.mark.parametrize("passes", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_a_strided_reader_with_few_channels_survives_many_backward_passes(passes: int) -> None:
    # The code is executed in a separate process, because the fault writes beyond a workspace and can crash the process.
    done = subprocess.run(
        [sys.executable, "-c", FEW_CHANNELS, str(passes)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert done.stdout.strip() == f"the same {passes} times", done.stderr[-2000:]
    assert done.returncode == 0
