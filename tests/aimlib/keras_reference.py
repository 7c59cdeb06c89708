"""A plain reimplementation of the author's models, with channels last and a memory that is reshaped and concatenated.

This code does not use the tested package. Weights are arrays, keyed by the name of the Keras layer; kernels are [rows,
columns, in, out].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Weights = dict[str, list[Any]]


@dataclass(frozen=True)
class Model:
    """Sizes of a model; the defaults are for AiM as run."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    stem_stride: int = 1
    epsilon: float = 1e-3
    classes: int = 120
    memory: tuple[int, int, int] | None = (7, 7, 1024)
    """Rows, columns, channels; None for the control."""


class Reference:
    """Computes the model's outputs; draws a layer's weights if they are missing, so one pass creates all weights."""

    def __init__(self, model: Model, weights: Weights | None = None, seed: int = 0) -> None:
        self.model = model
        self.weights: Weights = {} if weights is None else weights
        self.random = np.random.default_rng(seed)
        self.static: Tensor | None = None

    def conv(self, x: Tensor, name: str, filters: int, size: int = 1, stride: int = 1, pad: int = 0) -> Tensor:
        entering = x.shape[3]
        kernel, bias = self.layer(name, [(size, size, entering, filters), (filters,)], math.sqrt(2 / entering) / size)
        assert kernel.shape == (size, size, entering, filters), name
        out = functional.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias, stride=stride, padding=pad)
        return out.permute(0, 2, 3, 1).contiguous()

    def norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, variance = self.layer(name, [(x.shape[-1],)] * 4, 0.3)
        return (x - mean) / torch.sqrt(variance.abs() + self.epsilon(name)) * gamma + beta

    def epsilon(self, name: str) -> float:
        return 1e-3 if name.startswith("mem_") else self.model.epsilon

    def layer(self, name: str, shapes: list[tuple[int, ...]], scale: float) -> list[Tensor]:
        if name not in self.weights:
            drawn: list[Any] = [self.random.normal(0, scale, shape).astype(np.float32) for shape in shapes]
            if len(shapes) == 4:
                drawn = [0.5 + drawn[0] / 3, drawn[1], drawn[2], 0.5 + drawn[3] ** 2]
            self.weights[name] = drawn
        return [torch.from_numpy(array) for array in self.weights[name]]

    def reshaped(self, memory: Tensor, rows: int, columns: int) -> Tensor:
        """Return what the notebook's memory_reshape_block returns for a memory [batch, rows, columns, channels]."""
        total = memory[0].numel()
        side = math.ceil(math.sqrt(total))
        batch = len(memory)
        if rows > side:
            flat = functional.pad(memory.reshape(batch, total), ((side * side - total) // 2,) * 2)
            border = (rows - side) // 2
            return functional.pad(flat.reshape(batch, side, side), (border,) * 4)[..., None]
        assert rows * columns < total, "the notebook does not return a value here"
        return memory.reshape(batch, rows, columns, total // (rows * columns))

    def concatenated(self, x: Tensor, memory: Tensor) -> Tensor:
        return torch.cat([x, self.reshaped(memory, x.shape[1], x.shape[2])], dim=3)

    def block(self, x: Tensor, memory: Tensor | None, where: str, width: int, stride: int) -> Tensor:
        read = x if memory is None else self.concatenated(x, memory)
        inner = self.norm(self.conv(read, f"res{where}_branch2a", width, stride=stride), f"bn{where}_branch2a").relu()
        inner = self.norm(self.conv(inner, f"res{where}_branch2b", width, 3, pad=1), f"bn{where}_branch2b").relu()
        inner = self.norm(self.conv(inner, f"res{where}_branch2c", 4 * width), f"bn{where}_branch2c")
        if where.endswith("a"):
            x = self.norm(self.conv(x, f"res{where}_branch1", 4 * width, stride=stride), f"bn{where}_branch1")
        return (inner + x).relu()

    def update(self, x: Tensor, memory: Tensor, where: str) -> Tensor:
        assert self.model.memory is not None
        rows, columns, channels = self.model.memory
        inner = self.concatenated(x, memory)
        for letter, filters in zip("abc", (16, 16, 32), strict=True):
            inner = self.conv(inner, f"mem_conv{where}_branch_{letter}", filters, 3, pad=1)
            inner = self.norm(inner, f"mem_bn{where}_branch_2{letter}").sigmoid()
        pool = (inner.shape[1] // rows, inner.shape[2] // columns)
        pooled = functional.avg_pool2d(inner.permute(0, 3, 1, 2), pool).permute(0, 2, 3, 1)
        return self.conv(pooled, f"Memory{where}_branch", channels)

    def memory(self, name: str, batch: int) -> Tensor | None:
        if self.model.memory is None:
            return None
        return self.conv(torch.ones(batch, *self.model.memory), name, self.model.memory[2])

    def logits(self, x: Tensor) -> Tensor:
        """Return logits for images [batch, rows, columns, 3] with values from 0 to 255."""
        current, static = self.memory("mem_init", len(x)), self.memory("conv2d_2", len(x))
        x = functional.pad(x, (0, 0, 3, 3, 3, 3))
        x = self.norm(self.conv(x, "conv1", self.model.widths[0], 7, stride=self.model.stem_stride), "bn_conv1").relu()
        x = functional.pad(x, (0, 0, 1, 1, 1, 1))
        x = functional.max_pool2d(x.permute(0, 3, 1, 2), 3, 2).permute(0, 2, 3, 1)
        for number, (width, count) in enumerate(zip(self.model.widths, self.model.blocks, strict=True), start=2):
            for letter in "abcdefgh"[:count]:
                first = letter == "a"
                stride = 2 if first and number > 2 else 1
                x = self.block(x, current if first else static, f"{number}{letter}", width, stride)
                if first and current is not None:
                    current = self.update(x, current, f"{number}a")
        kernel, bias = self.layer("fc1000", [(x.shape[3], self.model.classes), (self.model.classes,)], 0.1)
        return x.mean(dim=(1, 2)) @ kernel + bias
