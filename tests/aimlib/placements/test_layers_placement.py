"""The placement `layers`, which lists by name the layers that read the memory."""

from __future__ import annotations

import pytest
from tiny_runs import AIM, SHAPE, SMALL, model

from aimlib.errors import ConfigError, UsageError
from aimlib.models import skeleton
from aimlib.registry import placements


def readers(*names: str) -> list[str]:
    options = {**AIM, "backbone": {**SMALL, "blocks": [1, 2]}, "update": None}
    network = skeleton(model(**{**options, "placement": {"name": "layers", "names": list(names)}}), SHAPE)
    return [reading.layer for reading in network.attachment.readers]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("fc",), ["fc"]),
        (("fc", "conv1"), ["conv1", "fc"]),
        (("layer2.*.conv1",), ["layer2.0.conv1", "layer2.1.conv1"]),
        (("layer?.0.conv[12]",), ["layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2"]),
    ],
)
def test_patterns_choose_layers_in_the_order_of_the_forward_pass(names: tuple[str, ...], expected: list[str]) -> None:
    assert readers(*names) == expected


def test_a_pattern_without_a_matching_layer_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match=r"'layer3\.\*' does not match any of the layers of this network; .*layers of "
        r"this",
    ):
        readers("fc", "layer3.*")


@pytest.mark.parametrize("names", [[], None])
def test_layer_names_are_required(names: object) -> None:
    with pytest.raises(ConfigError, match="names"):
        placements.parse({"name": "layers", **({} if names is None else {"names": names})})
