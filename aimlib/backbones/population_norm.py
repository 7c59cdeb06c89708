"""Batch norm of features whose running variance is kept as Keras keeps it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PopulationBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` whose running variance averages the variances of batches as they are.

    PyTorch multiplies them by n / (n - 1) first, for batches of n. Keras does the same in maps (fused batch norm), but
    not in features, where a batch of 64 differs by 1.6 %. What a batch is normalized by in training is the same in
    both.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x_BF: Tensor) -> Tensor:
        """Return the normalized features [batch, features]."""
        if not self.training:
            return super().forward(x_BF)
        with torch.no_grad():
            values_BF = x_BF.detach().to(self.running_mean.dtype)
            self.running_mean.lerp_(values_BF.mean(dim=0), self.momentum)
            self.running_var.lerp_(values_BF.var(dim=0, correction=0), self.momentum)
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(x_BF, None, None, self.weight, self.bias, training=True, eps=self.eps)
