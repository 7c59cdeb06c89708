"""Batch norm for features, with a running variance that is computed as in Keras."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PopulationBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` whose running variance averages the unmodified variances of the batches.

    PyTorch first multiplies each variance by n / (n - 1), where n is the size of the batch. Keras does so for maps
    (fused batch norm), but not for features; with a batch of 64, the difference is 1.6 %. During training, both
    libraries normalize a batch by the same variance.
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
