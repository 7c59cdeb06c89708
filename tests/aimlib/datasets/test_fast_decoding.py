"""JPEG files are decoded and resized to the same values as in TensorFlow; see `tensorflow_reference`."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorflow_reference import FILE, FILES, SIZE, encoded, photo
from typer.testing import CliRunner

from ablations.commands.app import app
from aimlib.datasets.decoding import DecodeError, decode
from aimlib.datasets.fast_decoding import decode_fast
from aimlib.datasets.packed import open_known, pack_folder
from aimlib.datasets.recipe import Recipe
from aimlib.datasets.resize import bilinear
from aimlib.errors import ConfigError
from aimlib.registry import datasets
from aimlib.training.inputs import load_batch, standardization
from aimlib.training.pixel_format import to_floats

AS_RUN = {"decoder": "fast", "pixels": "fine", "antialias": False}


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    return np.load(FILE)


@pytest.mark.parametrize("name", FILES)
def test_decoded_values_match_tensorflow(tensorflow: Any, name: str) -> None:
    content, right = tensorflow[f"{name}/file"].tobytes(), tensorflow[f"{name}/decoded"]
    pixels, reason = decode_fast(content)
    assert reason == ""
    assert np.array_equal(pixels, right)
    assert (np.asarray(decode(content)) != right).mean() > 0.1, "Pillow's values are different"


@pytest.mark.parametrize("name", FILES)
def test_resized_values_match_tensorflow(tensorflow: Any, name: str) -> None:
    decoded, right = tensorflow[f"{name}/decoded"], tensorflow[f"{name}/resized"]
    assert np.array_equal(bilinear(decoded, *SIZE), right), "to the last bit"


@pytest.mark.parametrize("name", FILES)
def test_values_of_a_file_match_tensorflow_within_one_step_of_fine_pixels(tensorflow: Any, name: str) -> None:
    side = SIZE[0]
    found, reason = Recipe("squash", side, False, "fast", "fine").convert(tensorflow[f"{name}/file"].tobytes())
    assert (found.dtype, found.shape, reason) == (np.uint16, (side, side, 3), "")
    right = bilinear(tensorflow[f"{name}/decoded"], side, side)
    assert np.abs(found / 256 - right).max() <= 1 / 512
    whole, _ = Recipe("squash", side, False, "fast").convert(tensorflow[f"{name}/file"].tobytes())
    assert np.abs(whole - right).max() > 0.1


@pytest.mark.photos
def test_real_photos_differ_from_pillow_only_in_the_last_bits(stanford_dogs_root: Path) -> None:
    for path in sorted((stanford_dogs_root / "Images").rglob("*.jpg"))[::300]:
        content = path.read_bytes()
        fast, reason = decode_fast(content)
        difference = np.abs(fast.astype(int) - np.asarray(decode(content)))
        assert (reason, difference.max() <= 9) == ("", True)
        assert 0.2 < (difference > 0).mean() < 0.9


def cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.new("CMYK", (16, 12), (10, 200, 30, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def png() -> bytes:
    buffer = io.BytesIO()
    photo(7, 14, 20, "RGB").save(buffer, "PNG")
    return buffer.getvalue()


def damaged() -> bytes:
    """Return a JPEG file with a wrong marker in its data; libjpeg warns about it and continues."""
    content = encoded(1)
    start = content.find(b"\xff\xda")
    return content[: start + 200] + b"\xff\xd3" + content[start + 202 :]


OTHERS = {
    "PNG": (png(), "it is not a JPEG"),
    "CMYK": (cmyk(), "its colors are CMYK"),
    "damaged": (damaged(), "Corrupt JPEG data"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_pillow_decodes_files_that_the_fast_decoder_cannot_decode(kind: str) -> None:
    content, why = OTHERS[kind]
    pixels, reason = decode_fast(content)
    assert why in reason
    assert np.array_equal(pixels, np.asarray(decode(content)))


@pytest.mark.parametrize("content", [b"", b"text", encoded(0)[:400]], ids=["empty", "text", "cut off"])
def test_a_file_that_pillow_also_cannot_decode_is_refused(content: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_fast(content)


def test_a_photo_that_claims_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aimlib.datasets.decoding.MOST_PIXELS", 100)
    with pytest.raises(DecodeError, match="1,920 pixels, but the limit is 100"):
        decode_fast(encoded(0))


def test_fine_pixels_require_no_antialiasing() -> None:
    with pytest.raises(ConfigError, match="pixels: fine needs antialias: false"):
        datasets.parse({"name": "stanford_dogs", "pixels": "fine"})


def photos(dogs: Any) -> Any:
    """Return the tree, in which all photos but one are now JPEG files."""
    for split in dogs.splits.values():
        for number, (path, label) in enumerate(split):
            dogs.write(path, encoded(10 * label + number, height=30, width=26, quality=90))
    dogs.write("n00000002-Breed_2/n00000002_3.jpg", png())
    return dogs


def test_a_pack_stores_fine_pixels_and_records_how_it_was_made(dogs: Any) -> None:
    plugin = photos(dogs).plugin(**AS_RUN)
    made = plugin.pack()
    data = made.data_set()
    assert (data.train.pixels.dtype, data.train.pixels.shape) == (np.uint16, (12, 8, 8, 3))
    for images in (data.train, data.test):
        for name, found in zip(images.names, images.pixels, strict=True):
            assert np.array_equal(found, plugin.pixels((dogs.root / "Images" / name).read_bytes()))
    recipe = json.loads((made.folder / "manifest.json").read_text())["recipe"]
    assert recipe == {**AS_RUN, "resize": "squash", "size": 8, "decode": 1}
    assert made.folder.name.startswith("stanford_dogs-squash-8-sampled-fast-fine-")
    assert made.manifest.decoder.startswith("simplejpeg ")
    assert open_known(made.folder, data.fingerprint) is not None
    assert plugin.pack().manifest.build == made.manifest.build


def test_each_way_of_decoding_has_its_own_pack_and_fingerprint(dogs: Any) -> None:
    photos(dogs)
    ways = [
        {"antialias": False},
        {"antialias": False, "decoder": "fast"},
        {"antialias": False, "pixels": "fine"},
        AS_RUN,
    ]
    plugins = [dogs.plugin(**way) for way in ways]
    assert len({pack_folder(plugin.listing(), plugin.recipe()) for plugin in plugins}) == 4
    assert len({plugin.load().fingerprint for plugin in plugins}) == 4
    assert plugins[0].recipe().key() == {"decode": 1, "resize": "squash", "size": 8, "antialias": False}


def test_photos_decoded_by_pillow_are_listed_in_the_log_the_pack_and_the_command(
    dogs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        made = photos(dogs).plugin(**AS_RUN).pack()
    odd = "n00000002-Breed_2/n00000002_3.jpg"
    assert made.by_pillow() == {odd: "it is not a JPEG"}
    said = f"Pillow decoded 1 photo of 18, which the fast decoder cannot decode: {odd} (it is not a JPEG)"
    assert said in caplog.text
    settings = [word for key, value in AS_RUN.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    command = ["data", "prepare", "stanford_dogs", "--root", str(dogs.root), "--size", "8", "--set", "classes=3"]
    ended = CliRunner().invoke(app, [*command, *settings])
    assert ended.exit_code == 0, ended.output
    assert f"{odd}: it is not a JPEG" in ended.output


def test_fine_pixels_are_used_for_training_as_values_from_0_to_255(dogs: Any) -> None:
    data = photos(dogs).plugin(**AS_RUN).load()
    x_BCHW, _ = load_batch(data.train, np.arange(12), torch.device("cpu"))
    values = torch.from_numpy(data.train.pixels.astype(np.float32) / 256).permute(0, 3, 1, 2)
    assert torch.equal(to_floats(x_BCHW), values)
    scaled = standardization(data.train.pixels, np.arange(12))(x_BCHW)
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
