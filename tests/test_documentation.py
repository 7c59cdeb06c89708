"""Names, paths and links in the documentation exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from ablations.spec.study import shipped_studies
from aimlib.config import AugmentationConfig, ModelConfig, TrainingConfig
from aimlib.registry import backbones, controls, memories
from aimlib.training.protocols import PROTOCOLS

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "examples/plugin_package/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
_DOTTED = re.compile(r"`((?:aimlib|ablations|analysis|bench)(?:\.\w+)+)`")
_PATH = re.compile(r"`((?:aimlib|ablations|analysis|bench|tests|docs|examples)/[\w./-]+)`")
_CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|#)([^)]+)\)")


@pytest.mark.parametrize("page", PAGES)
def test_names_paths_and_links_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in _DOTTED.findall(text):
        assert _resolves(name), f"{page} names {name}"
    for path in _PATH.findall(text):
        assert (ROOT / path).exists(), f"{page} names {path}"
    for link in _LINK.findall(_CODE.sub("", text)):
        target, _, anchor = link.partition("#")
        assert ((ROOT / page).parent / target).exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in _anchors((ROOT / page).parent / target), f"{page} links to {link}"


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub generates for a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return ".".join(parts) in {f"aimlib.{group}" for group in _GROUPS}
            found = getattr(found, part)
        return True
    return False


_GROUPS = ("memories", "optimizers", "schedules", "selections", "trainers", "losses", "augmentations", "callbacks")
"""Entry point groups that are not packages."""


def test_a_documented_name_that_does_not_exist_is_found() -> None:
    assert not _resolves("aimlib.memory.nowhere")
    assert _DOTTED.findall("see `aimlib.memory.nowhere`") == ["aimlib.memory.nowhere"]


def test_the_claim_page_names_studies_controls_and_options_that_exist() -> None:
    page = (ROOT / "docs" / "claim.md").read_text(encoding="utf-8")
    full = {name for name in shipped_studies() if not name.endswith("_small") and name != "demo"}
    named = set(re.findall(r"`(\w+)`", page))
    assert {"replication", "controlled", "confounds", "memory_size", "vgg16", "mlp"} <= named & full
    known = (
        set(controls.names())
        | set(memories.names())
        | set(backbones.names())
        | set(PROTOCOLS)
        | set(shipped_studies())
        | set(ModelConfig.model_fields)
        | set(TrainingConfig.model_fields)
        | set(AugmentationConfig.model_fields)
        | {"current", "select_on", "seeds", "source_lr_scale", "as_run", "NAME_small"}
    )
    assert named <= known, sorted(named - known)
