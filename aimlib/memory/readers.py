"""Layers that read the memory: a convolution and a dense layer, applied to their input and the memory together.

The post concatenates: ``conv([x; m])``. A convolution is linear in its input channels, so this equals ``conv_x(x) +
conv_m(m)``, and a tensor of the size of the concatenated input is never allocated. While the memory is the same for
every image, ``conv_m(m)`` is computed once per batch; with many weights and few positions, it is computed as one matrix
product. `concatenated` and `from_concatenated` convert exactly to and from the layer that the post describes.

A reader is a `Conv2d` (or `Linear`) whose `weight` and `bias` are those of the layer it replaces, under the same
state-dict names; `read_weight` is added. The state dict of a network with memory therefore contains that of the
baseline.
"""

from __future__ import annotations

from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aimlib.errors import UsageError, counted
from aimlib.memory.current import MemoryView
from aimlib.memory.shape_rule import flatten, lay_out

_MANY_WEIGHTS = 2**19
"""Number of reading weights above which a wide memory may be read by a matrix product."""


class ConvReader(nn.Conv2d):
    """A convolution over its input and the memory.

    Parameters
    ----------
    conv : the layer to replace; its parameters are taken over, not copied.
    channels_added : channels that the memory adds to the layer's input.
    memory : the network's current memory.
    wide : whether the memory is wide, see `aimlib.memory.sources.base.MemoryConfig.wide`.

    Raises
    ------
    UsageError: the convolution is grouped. Each group sees only a part of the input, so it is not defined which group
        would see the memory.
    """

    read_weight: nn.Parameter

    def __init__(self, conv: nn.Conv2d, channels_added: int, memory: MemoryView, *, wide: bool = False) -> None:
        _refuse_groups(conv)
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            cast("tuple[int, int]", conv.kernel_size),
            cast("tuple[int, int]", conv.stride),
            cast("str | tuple[int, int]", conv.padding),
            cast("tuple[int, int]", conv.dilation),
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        rows, columns = cast("tuple[int, int]", conv.kernel_size)
        self.read_weight = nn.Parameter(conv.weight.new_zeros(conv.out_channels, channels_added, rows, columns))
        self.memory = memory
        self.training = conv.training
        self._by_product = (
            wide
            and self.read_weight.numel() >= _MANY_WEIGHTS
            and conv.padding != "same"
            and conv.padding_mode == "zeros"
            and conv.dilation == (1, 1)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the output [batch, out channels, height', width'] for `x` [batch, in channels, height, width]."""
        memory = lay_out(self.memory.read(), x_BCHW.shape[2], x_BCHW.shape[3])
        if memory.shape[1] != self.read_weight.shape[1]:
            raise UsageError(
                f"the memory adds {counted(memory.shape[1], 'channel')} at {x_BCHW.shape[2]} x {x_BCHW.shape[3]}, "
                f"but this layer expects {self.read_weight.shape[1]}; a network with memory accepts only the "
                f"input size for which the memory was attached"
            )
        output: Tensor = self._conv_forward(x_BCHW, self.weight, self.bias)
        read = self._read(memory.to(x_BCHW.dtype))
        return output.add_(read if read.shape[0] == output.shape[0] else _for_every_image(read, output))

    def read(self, height: int, width: int) -> Tensor:
        """Return the memory's part of the output for maps of height x width: [1 or batch, out, height', width']."""
        return self._read(lay_out(self.memory.read(), height, width))

    def _read(self, memory_NCHW: Tensor) -> Tensor:
        if self._by_product and self._has_few_windows(memory_NCHW):
            return self._product(memory_NCHW)
        if self.kernel_size != (1, 1) or self.padding not in ((0, 0), "valid", "same"):
            read: Tensor = self._conv_forward(memory_NCHW, self.read_weight, None)
            return read
        # For a 1 x 1 kernel, subsampling first gives exactly the same result. It avoids a bug in oneDNN, which PyTorch
        # uses on CPUs: the backward pass of a strided 1 x 1 convolution over few channels writes beyond its workspace
        # (github.com/uxlfoundation/oneDNN, issue 6035). Memories laid out on a map have few channels, unlike feature
        # maps.
        rows, columns = cast("tuple[int, int]", self.stride)
        return functional.conv2d(memory_NCHW[:, :, ::rows, ::columns], self.read_weight)

    def _has_few_windows(self, memory_NCHW: Tensor) -> bool:
        """Return whether a copy of the memory's windows, which the product needs, is no larger than the weights."""
        rows, columns = cast("tuple[int, int]", self.stride)
        images, _, height, width = memory_NCHW.shape
        return images * -(-height // rows) * -(-width // columns) <= self.out_channels

    def _product(self, memory_NCHW: Tensor) -> Tensor:
        """Return the convolution, computed as a product of the memory's windows (one row per position) and the weights.

        A convolution rearranges its weights in the forward and the backward pass. With many positions, this saves time;
        with few positions and tens of MiB of weights, it takes longer than the product itself.
        """
        (height, width), (down, right) = cast("tuple[int, int]", self.kernel_size), cast("tuple[int, int]", self.stride)
        above, left = (0, 0) if self.padding == "valid" else cast("tuple[int, int]", self.padding)
        padded = functional.pad(memory_NCHW, (left, left, above, above)).permute(0, 2, 3, 1)
        windows = padded.unfold(1, height, down).unfold(2, width, right).permute(0, 1, 2, 4, 5, 3).flatten(3)
        read = functional.linear(windows, self.read_weight.permute(0, 2, 3, 1).flatten(1))
        return read.permute(0, 3, 1, 2)

    def plain(self) -> nn.Conv2d:
        """Return the convolution without memory; it shares the parameters."""
        conv = _conv_like(self, self.in_channels, device="meta")
        conv.weight, conv.bias = self.weight, self.bias
        return conv

    def concatenated(self) -> nn.Conv2d:
        """Return the equivalent plain convolution over ``[x; memory]``; its parameters are copies."""
        channels = self.in_channels + self.read_weight.shape[1]
        conv = _conv_like(self, channels, device=self.weight.device, dtype=self.weight.dtype)
        _copy_parameters(conv, torch.cat([self.weight, self.read_weight], dim=1), self.bias)
        return conv

    @classmethod
    def from_concatenated(cls, conv: nn.Conv2d, channels_added: int, memory: MemoryView) -> Self:
        """Return the reader that is equivalent to `conv` over ``[x; memory]``; the memory's channels come last."""
        _refuse_groups(conv)
        own = conv.in_channels - channels_added
        if own < 1:
            raise UsageError(f"the memory cannot add {channels_added} of {conv.in_channels} input channels")
        plain = _conv_like(conv, own, device=conv.weight.device, dtype=conv.weight.dtype)
        _copy_parameters(plain, conv.weight[:, :own], conv.bias)
        reader = cls(plain, channels_added, memory)
        with torch.no_grad():
            reader.read_weight.copy_(conv.weight[:, own:])
        return reader

    def extra_repr(self) -> str:
        """Return the convolution's own description, followed by the channels that the memory adds."""
        own: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{own}, memory_channels={self.read_weight.shape[1]}"


class LinearReader(nn.Linear):
    """A dense layer over its input features and the memory's values; the values are ordered rows, columns, channels.

    Parameters
    ----------
    linear : the layer to replace; its parameters are taken over, not copied.
    values : number of values in the memory.
    memory : the network's current memory.
    """

    read_weight: nn.Parameter

    def __init__(self, linear: nn.Linear, values: int, memory: MemoryView) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.read_weight = nn.Parameter(linear.weight.new_zeros(linear.out_features, values))
        self.memory = memory
        self.training = linear.training

    def read(self, *_map: int) -> Tensor:
        """Return the memory's part of the output: [1 or batch, out features]."""
        return functional.linear(flatten(self.memory.read()), self.read_weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output [batch, ..., out features] for `x` [batch, ..., in features]."""
        read = functional.linear(flatten(self.memory.read()).to(x.dtype), self.read_weight)
        read = read.view(read.shape[0], *[1] * (x.ndim - 2), -1)
        return functional.linear(x, self.weight, self.bias) + read

    def plain(self) -> nn.Linear:
        """Return the dense layer without memory; it shares the parameters."""
        linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        return linear

    def concatenated(self) -> nn.Linear:
        """Return the equivalent plain dense layer over ``[x; memory]``; its parameters are copies."""
        linear = nn.Linear(
            self.in_features + self.read_weight.shape[1],
            self.out_features,
            bias=self.bias is not None,
            device=self.weight.device,
            dtype=self.weight.dtype,
        )
        _copy_parameters(linear, torch.cat([self.weight, self.read_weight], dim=1), self.bias)
        return linear

    @classmethod
    def from_concatenated(cls, linear: nn.Linear, values: int, memory: MemoryView) -> Self:
        """Return the reader that is equivalent to `linear` over ``[x; memory]``; the memory's values come last."""
        own = linear.in_features - values
        if own < 1:
            raise UsageError(f"the memory cannot add {values} of {linear.in_features} input features")
        plain = nn.Linear(
            own,
            linear.out_features,
            bias=linear.bias is not None,
            device=linear.weight.device,
            dtype=linear.weight.dtype,
        )
        _copy_parameters(plain, linear.weight[:, :own], linear.bias)
        reader = cls(plain, values, memory)
        with torch.no_grad():
            reader.read_weight.copy_(linear.weight[:, own:])
        return reader

    def extra_repr(self) -> str:
        """Return the dense layer's own description, followed by the number of values that it reads."""
        return f"{super().extra_repr()}, memory_values={self.read_weight.shape[1]}"


Reader = ConvReader | LinearReader


def _for_every_image(read_1CHW: Tensor, output_BCHW: Tensor) -> Tensor:
    """Return `read` expanded to the shape of `output`.

    The result has the memory format of `output`, so the gradient is summed over images along entire rows. With
    broadcasting, torch sums channels-last maps position by position, which can take sixty times as long.
    """
    last = output_BCHW.is_contiguous(memory_format=torch.channels_last)
    read = read_1CHW.permute(0, 2, 3, 1) if last else read_1CHW
    rows = read.flatten(1).expand(output_BCHW.shape[0], -1).view(-1, *read.shape[1:])
    return rows.permute(0, 3, 1, 2) if last else rows


def _refuse_groups(conv: nn.Conv2d) -> None:
    if conv.groups != 1:
        raise UsageError(
            f"a convolution with groups={conv.groups} cannot read a memory, because each group sees only a part of "
            f"the input; choose a placement without this layer"
        )


def _conv_like(conv: nn.Conv2d, in_channels: int, **factory: Any) -> nn.Conv2d:
    """Return a convolution that differs from `conv` in its input channels and its parameters' values."""
    return nn.Conv2d(
        in_channels,
        conv.out_channels,
        cast("tuple[int, int]", conv.kernel_size),
        cast("tuple[int, int]", conv.stride),
        cast("str | tuple[int, int]", conv.padding),
        cast("tuple[int, int]", conv.dilation),
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        **factory,
    )


def _copy_parameters(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None and layer.bias is not None:
            layer.bias.copy_(bias)
