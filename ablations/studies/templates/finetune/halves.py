"""The data: the digits 0 to 4, for pretrained.safetensors, and the digits 5 to 9, for fine-tuning.

Replace this file with your own data; an `image_folder`, for example, does not need any code.
"""

from typing import Literal

from aimlib.component import ComponentConfig
from aimlib.datasets.base import DataSet, DatasetPlugin, Images, ImageShape
from aimlib.datasets.fingerprint import with_fingerprint
from aimlib.registry import datasets


@datasets.register("half")
class Half(DatasetPlugin):
    """Five of the ten digits of scikit-learn."""

    class Config(ComponentConfig):
        """The five digits, and the number of training images of each."""

        digits: Literal["0-4", "5-9"]
        images_per_class: int = 100

    config: Config

    def shape(self) -> ImageShape:
        """Return the shape of the images."""
        return ImageShape(channels=1, height=16, width=16, classes=5)

    def load(self) -> DataSet:
        """Return the images of the five digits."""
        first = int(self.config.digits[0])
        whole = datasets.create(datasets.parse({"name": "digits", "size": 16, "train_images": 1297})).load()
        train = self._five(whole.train, first, self.config.images_per_class)
        return with_fingerprint(train, self._five(whole.test, first), whole.classes[first : first + 5])

    def _five(self, images: Images, first: int, most: int | None = None) -> Images:
        """Return the images of five classes, at most `most` of each."""
        kept: list[int] = []
        for digit in range(first, first + 5):
            of_digit = [number for number, label in enumerate(images.labels) if label == digit]
            kept += of_digit[:most]
        names = tuple(images.names[number] for number in kept)
        return Images(images.pixels[kept], images.labels[kept] - first, names)
