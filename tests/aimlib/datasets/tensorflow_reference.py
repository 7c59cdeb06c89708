"""Write tests/data/tensorflow_photos.npz: generated JPEG files, and the results of decoding and resizing in TensorFlow.

    python -m venv tf && tf/bin/pip install tensorflow-cpu==2.21.0 pillow
    tf/bin/python tests/aimlib/datasets/tensorflow_reference.py

There are three arrays per JPEG file: ``<name>/file`` (the file's bytes), ``<name>/decoded`` (`tf.io.decode_jpeg` with
its defaults, as TensorFlow Datasets decodes) and ``<name>/resized`` (the decoded image, resized to `SIZE` by
`tf.image.resize`, float32).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (20, 24)
FILE = Path(__file__).parents[2] / "data" / "tensorflow_photos.npz"
FILES = {
    "4:4:4": {"subsampling": "4:4:4", "quality": 90},
    "4:2:0": {"subsampling": "4:2:0", "quality": 75},
    "4:2:2": {"subsampling": "4:2:2", "quality": 85},
    "coarse": {"subsampling": "4:2:0", "quality": 20},
    "progressive": {"subsampling": "4:2:0", "quality": 85, "progressive": True},
    "grey": {"quality": 85, "mode": "L"},
    "odd": {"subsampling": "4:2:0", "quality": 85, "height": 37, "width": 29},
    "smaller": {"subsampling": "4:2:0", "quality": 85, "height": 13, "width": 11},
}


def photo(seed: int, height: int, width: int, mode: str) -> Image.Image:
    """Return a generated image with waves of color and noise."""
    y, x = np.mgrid[:height, :width]
    waves = [120 + 90 * np.sin(x / 5 + y / 9), 110 + 95 * np.cos(x / 7), 128 + 80 * np.sin(y / 4)]
    noise = np.random.default_rng(seed).normal(0, 14, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)).convert(mode)


def encoded(seed: int, height: int = 40, width: int = 48, mode: str = "RGB", **options: object) -> bytes:
    """Return the photo as a JPEG file."""
    buffer = io.BytesIO()
    photo(seed, height, width, mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def main() -> None:
    """Write the file."""
    import tensorflow as tf

    arrays = {}
    for seed, (name, options) in enumerate(FILES.items()):
        content = encoded(seed, **options)  # type: ignore[arg-type]
        decoded = tf.io.decode_jpeg(content, channels=3)
        arrays[f"{name}/file"] = np.frombuffer(content, np.uint8)
        arrays[f"{name}/decoded"] = decoded.numpy()
        arrays[f"{name}/resized"] = tf.image.resize(decoded, SIZE).numpy()
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
