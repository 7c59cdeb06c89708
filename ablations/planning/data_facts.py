"""What a user should know about the data of a plan."""

from __future__ import annotations

from collections.abc import Iterator

from ablations.planning.plan import Plan
from aimlib.datasets.overlap import shared_images
from aimlib.datasets.photos import PhotoPlugin
from aimlib.registry import datasets


def shared_images_of(plan: Plan) -> Iterator[str]:
    """Yield a sentence for every two splits with the same images, with a remedy; each data set is read once."""
    seen = set[str]()
    for arm in plan.arms:
        data, plugin = plan.data[arm.name], datasets.create(arm.config.data)
        if data.fingerprint in seen or not plugin.has_pixels:
            continue
        seen.add(data.fingerprint)
        for text in shared_images(data):
            fix = ", and `--fix FILE` lists those to leave out" if isinstance(plugin, PhotoPlugin) else ""
            yield (
                f"{plugin.config.name}: {text}; such images say nothing about new ones: `ablate data verify` names "
                f"them{fix}"
            )
