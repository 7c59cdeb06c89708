"""What a user should know about a plan's data."""

from __future__ import annotations

from collections.abc import Iterator

from ablations.planning.plan import Plan
from aimlib.datasets.overlap import shared_images
from aimlib.datasets.photos import PhotoPlugin
from aimlib.registry import datasets


def shared_images_of(plan: Plan) -> Iterator[str]:
    """Yield a sentence for every pair of splits that share images, with a remedy; each data set is read once."""
    seen = set[str]()
    for arm in plan.arms:
        data, plugin = plan.data[arm.name], datasets.create(arm.config.data)
        if data.fingerprint in seen or not plugin.has_pixels:
            continue
        seen.add(data.fingerprint)
        for text in shared_images(data):
            fix = (
                ", and `--fix FILE` writes a list of the images to leave out" if isinstance(plugin, PhotoPlugin) else ""
            )
            yield (
                f"{plugin.config.name}: {text}; such images do not show how well a network generalizes: `ablate "
                f"data verify` lists them{fix}"
            )
