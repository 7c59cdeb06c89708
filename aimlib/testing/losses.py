"""Conformance tests for losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from aimlib.registry import losses
from aimlib.testing.conformance import Conformance, assert_close, random_like
from aimlib.testing.tiny_training import assert_reproducible
from aimlib.training.losses.base import Loss, build_loss

_CPU = torch.device("cpu")


class LossConformance(Conformance):
    """Tests for a loss, which must be a finite scalar, have a useful gradient, and not depend on earlier batches.

    Attributes
    ----------
    classes : number of classes in the tests that do not train; with a list of class weights, the length of the list.
    """

    registry = losses
    classes = 3

    def loss(self) -> Loss:
        """Return the loss for classes with different numbers of images."""
        loss = build_loss(self.config(), torch.arange(1, self.classes + 1) * 10, _CPU)
        assert loss is not None
        return loss

    def batch(self, images: int = 6) -> tuple[Tensor, Tensor]:
        """Return random logits that require gradients, and labels."""
        logits_BC = 2 * random_like((images, self.classes), seed=images)
        return logits_BC.requires_grad_(), torch.arange(images) % self.classes

    def test_it_is_a_finite_scalar(self) -> None:
        """The loss is a finite scalar for batches of one or more images, and for very confident logits."""
        loss = self.loss()
        for images in (1, 6):
            logits_BC, labels_B = self.batch(images)
            for scale in (0.0, 1.0, 50.0):
                value = loss(scale * logits_BC, labels_B)
                assert value.shape == ()
                assert value.dtype == torch.float32
                assert bool(value.isfinite())

    def test_a_small_step_against_the_gradient_lowers_it(self) -> None:
        """The gradient is finite and not zero, and a small step against the gradient lowers the loss."""
        loss, (logits_BC, labels_B) = self.loss(), self.batch()
        before = loss(logits_BC, labels_B)
        before.backward()
        gradient_BC = logits_BC.grad
        assert gradient_BC is not None
        assert bool(gradient_BC.isfinite().all())
        assert bool(gradient_BC.abs().sum() > 0)
        with torch.no_grad():
            step = 1e-2 / float(gradient_BC.norm())
            assert float(loss(logits_BC - step * gradient_BC, labels_B)) < float(before)

    def test_the_right_class_is_better_than_a_wrong_one(self) -> None:
        """The test compares every class."""
        loss = self.loss()
        right_CC = 4 * torch.eye(self.classes)
        for label in range(self.classes):
            labels = torch.tensor([label])
            wrong = right_CC[(label + 1) % self.classes]
            assert float(loss(right_CC[label][None], labels)) < float(loss(wrong[None], labels))

    def test_it_keeps_nothing_between_batches(self) -> None:
        """If another batch is computed in between, a batch's loss stays bitwise identical; buffers do not change."""
        loss, (logits_BC, labels_B) = self.loss(), self.batch()
        first = loss(logits_BC, labels_B)
        before = [buffer.clone() for buffer in loss.buffers()]
        loss(*self.batch(4))
        assert torch.equal(loss(logits_BC, labels_B), first)
        assert all(torch.equal(one, other) for one, other in zip(before, loss.buffers(), strict=True))

    def test_the_order_of_a_batch_does_not_matter(self) -> None:
        """Losses are equal up to rounding."""
        loss, (logits_BC, labels_B) = self.loss(), self.batch()
        assert_close(loss(logits_BC.flip(0), labels_B.flip(0)), loss(logits_BC, labels_B))

    def test_soft_targets_of_one_class_are_that_class(self) -> None:
        """If accepted, soft targets of one class give the same loss as labels, and mixed ones give a finite loss."""
        loss, (logits_BC, labels_B) = self.loss(), self.batch()
        if not loss.takes_soft_targets:
            return
        hard_BC = functional.one_hot(labels_B, self.classes).float()
        assert_close(loss(logits_BC[:1], hard_BC[:1]), loss(logits_BC[:1], labels_B[:1]))
        soft_BC = 0.7 * hard_BC + 0.3 * hard_BC.roll(1, 0)
        value = loss(logits_BC, soft_BC)
        assert value.shape == ()
        assert bool(value.isfinite())

    def test_runs_have_the_same_bits_when_they_are_interrupted(self) -> None:
        """A run is trained, then repeated, and then resumed after every step; the losses in the rows are finite."""
        training: dict[str, object] = {"loss": {"name": self.name, **self.options}}
        rows = assert_reproducible(training)["epochs"]
        assert all(abs(row["test_loss"]) < float("inf") for row in rows)
