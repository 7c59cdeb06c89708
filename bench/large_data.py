"""Does memory use grow with the size of the data set?

Question: How much memory, in MiB, does it take to prepare 100,000 photos and to train on them for an epoch, and how
    much more is that than for 20,000 photos?

Rivals: none; a measurement with 2,000 photos shows how much memory the libraries and the network use.

Measured: 2026-11-28, AMD EPYC, 2 cores, 24 GiB, Linux 6.18.44-fc-v657, Python 3.11.7; torch 2.14.1, torchvision
    0.29.1, ray 2.60.0, optuna 5.0.0, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, scipy 1.17.1, matplotlib 3.11.2;
    medians of 1 rounds, 793 s in all.

Reached: anonymous MiB to prepare 100,000 photos: 74.8 (≤ 1,024); anonymous bytes per photo to prepare, from 20,000
    photos to 100,000: 473 (≤ 1,000); anonymous MiB to train 100,000 photos: 441 (≤ 1,024); anonymous bytes per photo
    to train, from 20,000 photos to 100,000: 210 (≤ 1,000).
"""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bench.harness import ROOT, Answer, Asked, Goal, Row, main, row

SIDE, SIZE = 64, 32
"""Size of a photo and of a packed photo, in pixels."""
CLASSES, DIFFERENT = 20, 16
"""Number of classes, and number of photos per class that differ in more than a comment."""
TEST_EVERY = 20
INTERVAL_S = 0.02
CHILD = "import sys; from bench.large_data import child; child(*sys.argv[1:])"
MOST_MIB = 1024
MOST_BYTES = 1_000
"""Maximum increase in bytes of RAM per additional photo: for its path, its label, and values derived from these."""
HOW = (
    "Anonymous memory can be freed only by this process. The figure covers all of it, including Python and torch "
    "(Linux, /proc/PID/smaps_rollup, Anonymous and Pss_Shmem, read from outside every 20 ms). Mapped memory is "
    "the rest of the resident memory: the pack and the code of libraries, which are files whose pages the kernel "
    "drops when it needs space."
)


def measure(asked: Asked) -> Answer:
    """Create folder trees of increasing size; prepare each tree in one process, and train on it in another process."""
    counts = (200, 400) if asked.quick else (2_000, 20_000, 100_000)
    peaks: dict[tuple[str, int], list[float]] = {}
    rows: list[Row] = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            _make(Path(folder) / "photos", count)
            for what in ("prepare", "train"):
                found = [_asked(what, folder)]
                peaks[what, count] = [anonymous for anonymous, _ in found]
                rows.append(row(f"{what}, {count:,} photos", "anonymous", peaks[what, count], "MiB"))
                rows.append(row(f"{what}, {count:,} photos", "mapped", [mapped for _, mapped in found], "MiB"))
    return Answer(rows, [goal for what in ("prepare", "train") for goal in _goals(what, peaks, counts)], [HOW])


def _goals(what: str, peaks: dict[tuple[str, int], list[float]], counts: tuple[int, ...]) -> Iterator[Goal]:
    few, many = counts[-2:]
    most, less = (row("", "", peaks[what, count], "").figure for count in (many, few))
    yield Goal(f"anonymous MiB to {what} {many:,} photos", most, MOST_MIB, "most")
    growth = (most - less) * 2**20 / (many - few)
    yield Goal(f"anonymous bytes per photo to {what}, from {few:,} photos to {many:,}", growth, MOST_BYTES, "most")


def _make(root: Path, count: int) -> None:
    """Write JPEGs with noise and shapes.

    Only a few photos are drawn; the others have the same pixels but different comments.
    """
    draw = np.random.default_rng(0)
    drawn = [[_drawn(draw, label) for _ in range(DIFFERENT)] for label in range(CLASSES)]
    for split in ("train", "test"):
        for label in range(CLASSES):
            (root / split / f"class_{label:02d}").mkdir(parents=True)
    for number in range(count):
        label, split = number % CLASSES, "test" if number // CLASSES % TEST_EVERY == 0 else "train"
        content, comment = drawn[label][number // CLASSES % DIFFERENT], f"{number:08d}".encode()
        segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
        path = root / split / f"class_{label:02d}" / f"photo_{number:08d}.jpg"
        path.write_bytes(content[:2] + segment + content[2:])


def _drawn(draw: np.random.Generator, label: int) -> bytes:
    image = Image.fromarray(draw.integers(0, 128, (SIDE, SIDE, 3), dtype=np.uint8))
    x, y = draw.integers(0, SIDE // 2, 2).tolist()
    shape = ImageDraw.Draw(image)
    (shape.ellipse if label % 2 else shape.rectangle)(
        (x, y, x + 8 + label, y + 28 - label), fill=(200, 40 * (label % 5), 90)
    )
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _asked(what: str, folder: str) -> tuple[float, float]:
    """Return the peak anonymous and mapped memory of a process, in MiB."""
    anonymous = mapped = 0.0
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([sys.executable, "-c", CHILD, what, folder], stderr=errors, cwd=ROOT)
        while process.poll() is None:
            with contextlib.suppress(OSError, KeyError):  # the process has just ended
                now = _resident(process.pid)
                anonymous, mapped = max(anonymous, now[0]), max(mapped, now[1])
            time.sleep(INTERVAL_S)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{what} failed:\n{errors.read()[-3000:]}")
    print(f"  {what}: {anonymous:.1f} MiB anonymous, {mapped:.1f} MiB mapped", file=sys.stderr, flush=True)
    return anonymous, mapped


def child(what: str, folder: str) -> None:
    """Prepare the photos or train on them; the process that calls this function is measured."""
    from aimlib.registry import datasets

    cache = Path(folder) / "cache"
    place = {"root": f"{folder}/photos", "cache": str(cache)}
    options = {"name": "image_folder", "classes": CLASSES, "size": SIZE, **place}
    known = cache / "fingerprint"
    if what == "prepare":
        fingerprint = datasets.create(datasets.parse(options)).pack().manifest.fingerprint
        known.write_text(fingerprint)
    else:
        _train(options, known.read_text())


def _train(options: dict[str, object], fingerprint: str) -> None:
    """Train for one epoch as a worker does, on data that is identified by its fingerprint."""
    from aimlib.config import RunConfig
    from aimlib.registry import datasets
    from aimlib.training.loop import train

    training = {
        "epochs": 1,
        "batch_size": 128,
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
        "selection": "best_validation",
        "validation_fraction": 0.1,
    }
    model = {"backbone": {"name": "small_resnet", "widths": [4, 4, 8], "stem_stride": 2}}
    config = RunConfig.parse({"data": options, "model": model, "training": training, "seed": 0})
    data = datasets.create(config.data).load_known(fingerprint)
    train(config, data)


def _resident(pid: int) -> tuple[float, float]:
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        found[name.rstrip(":")] = int(amount) / 1024
    own = found["Anonymous"] + found["Pss_Shmem"]
    return own, found["Rss"] - own


if __name__ == "__main__":
    main(__doc__, measure)
