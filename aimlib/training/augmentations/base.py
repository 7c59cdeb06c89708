"""The base classes of all augmentations: those for single images, and those for whole batches with labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, Field
from torch import Tensor
from torchvision.transforms import v2

from aimlib.component import ComponentConfig, tuple_of
from aimlib.datasets.base import ImageShape

Interpolation = Literal["nearest", "bilinear"]
"""How a geometric change interpolates between pixels, with torchvision's names."""
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[float, float], BeforeValidator(tuple_of)]
"""Lowest and highest value of a draw."""


class AugmentationOptions(ComponentConfig):
    """Options for an augmentation."""


class Augmentation(ABC):
    """Base class of the `aimlib.augmentations` plugins: a random change to one training image.

    An augmentation draws from the global generators of torch, NumPy or Python. Before every image, the generators are
    set to the image's own stream, ``seed_for(seed, "transforms", epoch, image)``, and afterwards they are restored. The
    change to an image therefore does not depend on its batch or on interruptions, and is the same in all arms with the
    same seed.

    Parameters
    ----------
    config : the augmentation's options.
    shape : shape of the images.

    Attributes
    ----------
    after_scaling : whether `augment` receives the network's input instead of pixels; see `augment`.
    per_batch : whether this is a `BatchAugmentation`.
    """

    Config: ClassVar[type[ComponentConfig]] = AugmentationOptions
    after_scaling: ClassVar[bool] = False
    per_batch: ClassVar[bool] = False

    def __init__(self, config: Any, shape: ImageShape) -> None:
        self.config = config
        self.shape = shape

    @abstractmethod
    def augment(self, image_CHW: Tensor) -> Tensor:
        """Return the changed image, with the same shape and type.

        Parameters
        ----------
        image_CHW : [channels, height, width] on the training device. Pixels are uint8, from 0 to 255. With
            `after_scaling`, pixels are float32, as in the network's input: with mean 0 and standard deviation 1 over
            the training images, or from 0 to 255 with ``input_scaling: raw``. The image may be changed in place.
        """


class BatchAugmentation(ABC):
    """Base class of augmentations that change a whole batch: they may mix images and their labels.

    The global generators are set to ``seed_for(seed, "batch transforms", epoch, step)`` before every batch.

    Parameters
    ----------
    config, shape : as for `Augmentation`; ``shape.classes`` is the number of classes.
    """

    Config: ClassVar[type[ComponentConfig]] = AugmentationOptions
    after_scaling: ClassVar[bool] = True
    per_batch: ClassVar[bool] = True

    def __init__(self, config: Any, shape: ImageShape) -> None:
        self.config = config
        self.shape = shape

    @abstractmethod
    def augment(self, x_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changed images, and the share of each class in each image [batch, classes], float32.

        Parameters
        ----------
        x_BCHW : [batch, channels, height, width], float32, as the network receives the images.
        labels_B : [batch], int64, class numbers.
        """


class TorchvisionAugmentation(Augmentation):
    """An augmentation that torchvision provides.

    Attributes
    ----------
    transform : name of the class in `torchvision.transforms.v2`; the options of `Config` are its arguments.
    """

    transform: ClassVar[str]

    def __init__(self, config: Any, shape: ImageShape) -> None:
        super().__init__(config, shape)
        self._transform = getattr(v2, self.transform)(**self.arguments())

    def arguments(self) -> dict[str, Any]:
        """Return torchvision's arguments."""
        given = {name: getattr(self.config, name) for name in type(self.config).model_fields}
        if "interpolation" in given:
            given["interpolation"] = v2.InterpolationMode(given["interpolation"])  # torchvision 0.22 rejects names
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}

    def augment(self, image_CHW: Tensor) -> Tensor:
        """Return the image changed by torchvision."""
        return cast("Tensor", self._transform(image_CHW))
