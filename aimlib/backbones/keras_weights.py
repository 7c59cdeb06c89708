"""Conversion of the author's Keras weights to state dicts with which this package's networks have the same outputs.

The author's two arms are `resnet50_keras` without and with memory; `vgg16` is the author's other control, which can
also have memory here. This package's networks keep channels first and read the memory as a sum; the originals keep
channels last and concatenate. The results are the same, because kernels are transposed, and a kernel over ``[input;
memory]`` is split into the layer's own part and the reading part.

The names are those used in the notebooks (github.com/Joy-Lunkad/AiM, commit 3d79d31): ``res2a_branch2a`` is the first
convolution in the first block of stage 2, called ``layer1.0.conv1`` here; ``mem_conv2a_branch_a`` is the first
convolution of the update after that block. The author took the control from ``keras.applications``; the layer names
used there (``conv2_block1_1_conv``) are also accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aimlib.errors import UsageError
from aimlib.memory.attach import AimNetwork
from aimlib.memory.readers import ConvReader, LinearReader
from aimlib.updates._conv_sigmoid import ConvSigmoid

Arrays = Sequence[npt.NDArray[Any]]
"""A layer's weights in Keras's order: kernel, bias; for a batch norm gamma, beta, moving mean, moving variance."""

_VGG_CONVOLUTION, _VGG_END = re.compile(r"block\d_conv\d"), re.compile(r"block(\d)_pool")
_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn)(\d)|layer(\d+)\.(\d+)\.downsample\.([01])")


def from_keras(
    weights: Mapping[str, Arrays],
    network: nn.Module,
    *,
    static_memory: str = "conv2d_2",
    head: tuple[str, str, str] = ("batch_normalization_3", "dense_2", "dense_3"),
    unused: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Return a state dict for `network` with the weights of a Keras model.

    Parameters
    ----------
    weights : arrays, keyed by the name of the Keras layer; kernels are [rows, columns, in, out], dense kernels [in,
        out]. Layers without weights may be included.
    network : `resnet50_keras` or `vgg16` as `aimlib.models.build` or `skeleton` returns it, without memory, or with
        memory as run (update conv_sigmoid or none, memory conv_ones). The network is not changed. The author had no
        VGG16 with memory; the update layers of such a network are expected under the number of the stage
        (``mem_conv1_branch_a``).
    static_memory : Keras's name for the second memory layer of the routing ``as_run``. Keras generated this name; it
        depends on the layers that the author's process had built earlier.
    head : Keras's names for the batch norm and the two hidden dense layers of VGG16. Keras generated these names as
        well; the defaults are the names in the author's notebook.
    unused : names or patterns of layers that the network does not have (an update block whose output is not used).

    Raises
    ------
    UsageError: a layer is missing, has a different shape, or is not in the network; the message has one line per
        problem.
    """
    problems: list[str] = []
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    for prefix, module, names in _layers(network, static_memory, head):
        name = next((name for name in names if name in weights), None)
        if name is None:
            problems.append(f"{names[0]}: missing; it is needed for {prefix}")
            continue
        used.add(name)
        try:
            state |= {f"{prefix}.{key}": value for key, value in _converted(module, weights[name]).items()}
        except ValueError as error:
            problems.append(f"{name}: {error}, for {prefix}")
    left = [name for name, arrays in weights.items() if len(arrays) and name not in used]
    left = [name for name in left if not any(fnmatchcase(name, pattern) for pattern in unused)]
    problems += [f"{name}: this network has no such layer; list it in `unused` to leave it out" for name in left]
    if not problems:
        problems = [
            f"{name}: no layer of the Keras model provides weights for it"
            for name in network.state_dict()
            if name not in state
        ]
    if problems:
        raise UsageError("the Keras weights do not fit this network:\n  " + "\n  ".join(problems))
    return state


class _Update:
    """An update's first convolution, stored here as two convolutions: one over the features and one over the memory."""

    def __init__(self, update: ConvSigmoid) -> None:
        self.see, self.read = update.see, update.read


def _layers(
    network: nn.Module, static_memory: str, head: tuple[str, str, str]
) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Yield, for every layer with weights, its name in this package, the layer, and its possible names in Keras."""
    aim = network if isinstance(network, AimNetwork) else None
    inside = "" if aim is None else "network."
    for name, module in (network if aim is None else aim.network).named_modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.Linear)):
            yield f"{inside}{name}", module, _network_names(name, head)
    if aim is None:
        return
    yield "source.conv", aim.source.get_submodule("conv"), ("mem_init",)
    if aim.static_source is not None:
        yield "static_source.conv", aim.static_source.get_submodule("conv"), (static_memory,)
    for place in aim.attachment.updates:
        key = place.replace(".", "/")
        yield from _update_layers(f"updates.{key}", aim.updates[key], _block(place))


def _network_names(name: str, head: tuple[str, str, str]) -> tuple[str, ...]:
    """Return a layer's name in the notebook and its name in ``keras.applications``."""
    if _VGG_CONVOLUTION.fullmatch(name) or name == "pred":
        return (name,)
    fixed = {
        "conv1": ("conv1", "conv1_conv"),
        "bn1": ("bn_conv1", "conv1_bn"),
        "fc": ("fc1000", "predictions"),
        **{ours: (theirs,) for ours, theirs in zip(("bn", "fc1", "fc2"), head, strict=True)},
    }
    if name in fixed:
        return fixed[name]
    found = _BLOCK.fullmatch(name)
    if found is None:
        raise UsageError(
            f"the author's models have no layer for {name}; convert the weights for the backbone "
            f"resnet50_keras or vgg16"
        )
    if found[5] is not None:
        stage, block, kind, branch, number = found[5], found[6], ("conv", "bn")[int(found[7])], "1", "0"
    else:
        stage, block, kind, number = found[1], found[2], found[3], found[4]
        branch = f"2{'abc'[int(number) - 1]}"
    ours = f"{'res' if kind == 'conv' else 'bn'}{_block(f'layer{stage}.{block}')}_branch{branch}"
    return ours, f"conv{int(stage) + 1}_block{int(block) + 1}_{number}_{kind}"


def _block(place: str) -> str:
    """Return Keras's name of a block, e.g. ``2a`` for layer1.0; stages start at 2, because the stem is stage 1.

    In VGG16, a stage is one block, named by its number.
    """
    if vgg := _VGG_END.fullmatch(place):
        return vgg[1]
    found = re.fullmatch(r"layer(\d+)\.(\d+)", place)
    if found is None:
        raise UsageError(f"the author's model has an update after a block, not after {place}")
    return f"{int(found[1]) + 1}{chr(ord('a') + int(found[2]))}"


def _update_layers(prefix: str, update: nn.Module, block: str) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    if not isinstance(update, ConvSigmoid):
        raise UsageError(f"{prefix}: the author's model has only conv_sigmoid updates, not {type(update).__name__}")
    yield prefix, _Update(update), (f"mem_conv{block}_branch_a",)
    convolutions, norms = "bcdefgh", "abcdefgh"
    counts = {nn.Conv2d: 0, nn.BatchNorm2d: 0}
    for name, module in update.refine.named_children():
        if isinstance(module, nn.Conv2d):
            yield f"{prefix}.refine.{name}", module, (f"mem_conv{block}_branch_{convolutions[counts[nn.Conv2d]]}",)
            counts[nn.Conv2d] += 1
        elif isinstance(module, nn.BatchNorm2d):
            yield f"{prefix}.refine.{name}", module, (f"mem_bn{block}_branch_2{norms[counts[nn.BatchNorm2d]]}",)
            counts[nn.BatchNorm2d] += 1
    yield f"{prefix}.write", update.write, (f"Memory{block}_branch",)


def _converted(module: Any, arrays: Arrays) -> dict[str, Tensor]:
    """Return the parameters and buffers of one layer, keyed by their names within the layer.

    Raises
    ------
    ValueError: the arrays do not match the layer.
    """
    if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
        size = (module.num_features,)
        gamma, beta, mean, variance = _checked(arrays, [size] * 4)
        return {
            "weight": gamma,
            "bias": beta,
            "running_mean": mean,
            "running_var": variance,
            "num_batches_tracked": torch.zeros((), dtype=torch.int64),
        }
    if isinstance(module, LinearReader):
        values = module.read_weight.shape[1]
        kernel, bias = _checked(arrays, [(module.in_features + values, module.out_features), (module.out_features,)])
        weight, features = kernel.T, module.in_features
        of_memory = weight[:, features:].contiguous()
        return {"weight": weight[:, :features].contiguous(), "bias": bias, "read_weight": of_memory}
    if isinstance(module, nn.Linear):
        kernel, bias = _checked(arrays, [(module.in_features, module.out_features), (module.out_features,)])
        return {"weight": kernel.T.contiguous(), "bias": bias}
    if isinstance(module, _Update):
        own, read = _split(arrays, module.see, module.read.in_channels)
        return {"see.weight": own[0], "see.bias": own[1], "read.weight": read}
    if isinstance(module, ConvReader):
        own, read = _split(arrays, module, module.read_weight.shape[1])
        return {"weight": own[0], "bias": own[1], "read_weight": read}
    own, _ = _split(arrays, module, 0)
    return {"weight": own[0], "bias": own[1]}


def _split(arrays: Arrays, conv: nn.Conv2d, memory_channels: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the layer's own weight and bias, and the weight over the memory's channels, which come last."""
    in_channels = conv.in_channels + memory_channels
    kernel, bias = _checked(arrays, [(*conv.kernel_size, in_channels, conv.out_channels), (conv.out_channels,)])
    weight = kernel.permute(3, 2, 0, 1)
    own, read = weight[:, : conv.in_channels], weight[:, conv.in_channels :]
    return (own.contiguous(), bias), read.contiguous()


def _checked(arrays: Arrays, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    given = [tuple(np.shape(array)) for array in arrays]
    if given != [tuple(shape) for shape in shapes]:
        raise ValueError(f"arrays of shapes {given} instead of {list(shapes)}")
    return [torch.from_numpy(np.array(array, dtype=np.float32)) for array in arrays]
