"""Every update follows a named module, and at least one later layer reads the update's result."""

from __future__ import annotations

import pytest
from tiny_runs import AIM, SHAPE, SMALL, model

from aimlib.datasets.base import ImageShape
from aimlib.errors import UsageError
from aimlib.models import skeleton


@pytest.mark.parametrize(
    ("update_after", "placement", "built", "unread"),
    [
        ("stage", "every_layer", ("layer1", "layer2"), ()),
        ("stage", "stage_only", ("layer1",), ("layer2",)),
        ("stage", "block_entry", ("layer1",), ("layer2",)),
        ("first_block", "block_entry", ("layer1.0", "layer2.0"), ()),
        ("block", "block_entry", ("layer1.0", "layer1.1", "layer2.0"), ("layer2.1",)),
        ("block", "every_layer", ("layer1.0", "layer1.1", "layer2.0", "layer2.1"), ()),
        ("first_block", "stage_only", ("layer1.0",), ("layer2.0",)),
    ],
)
def test_updates_are_placed_where_requested_and_only_where_they_are_read(
    update_after: str, placement: str, built: tuple[str, ...], unread: tuple[str, ...]
) -> None:
    backbone = {**SMALL, "blocks": [2, 2]}
    network = skeleton(
        model(**{**AIM, "backbone": backbone, "placement": placement, "update_after": update_after}), SHAPE
    )
    last = {"layer1": "layer1.1", "layer2": "layer2.1"} if update_after == "stage" else {}
    assert network.attachment.updates == tuple(last.get(name, name) for name in built)
    assert network.attachment.unread_updates == tuple(last.get(name, name) for name in unread)
    assert len(network.updates) == len(built)
    assert [update.where for update in network.updates.values()] == list(network.attachment.updates)


def test_an_update_whose_result_is_never_read_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the update has no effect: .*layers that read: conv1.*update: none"):
        skeleton(model(**{**AIM, "placement": "input_only"}), SHAPE)


def test_an_update_of_dense_features_is_refused_clearly() -> None:
    with pytest.raises(UsageError, match=r"works on feature maps, but 'relu1' returns features of shape .256."):
        skeleton(model(**{**AIM, "backbone": "mlp"}), SHAPE)


def test_routing_as_run_has_the_documented_reads_updates_and_channels() -> None:
    shape = ImageShape(3, 224, 224, 120)
    as_run = {
        "memory": "conv_ones",
        "placement": "block_entry",
        "update": "conv_sigmoid",
        "update_after": "first_block",
    }
    network = skeleton(model(backbone="resnet50", **as_run), shape)
    stride_2_stem = [16] * 3 + [16] + [64] * 3 + [64] + [256] * 5 + [256] + [1024] * 2
    assert [reading.channels_added for reading in network.attachment.readers] == stride_2_stem
    assert network.attachment.updates == ("layer1.0", "layer2.0", "layer3.0", "layer4.0")


@pytest.mark.parametrize(
    ("patterns", "built"),
    [
        (["layer1.0", "layer2.1"], ("layer1.0", "layer2.1")),
        (["layer2.1", "layer1.0"], ("layer1.0", "layer2.1")),
        (["layer1.?"], ("layer1.0", "layer1.1")),
        (["bn1"], ("bn1",)),
    ],
)
def test_updates_follow_named_modules_in_the_order_of_the_forward_pass(
    patterns: list[str], built: tuple[str, ...]
) -> None:
    backbone = {**SMALL, "blocks": [2, 2]}
    network = skeleton(model(**{**AIM, "backbone": backbone, "update_after": patterns}), SHAPE)
    assert network.attachment.updates == built
    assert network.attachment.unread_updates == ()


def test_an_update_after_an_unknown_module_is_refused_and_the_known_modules_are_listed() -> None:
    with pytest.raises(
        UsageError, match=r"'layer1\.7' does not match any of the modules of this network; did you mean.*layer"
    ):
        skeleton(model(**{**AIM, "update_after": ["layer1.7"]}), SHAPE)


def test_with_a_carried_memory_the_next_batch_counts_as_a_reader() -> None:
    options = {**AIM, "placement": "block_entry", "update_after": "stage"}
    assert skeleton(model(**options), SHAPE).attachment.updates == ("layer1.0",)
    carried = skeleton(model(**{**options, "carry": {}}), SHAPE).attachment
    assert carried.updates == ("layer1.0", "layer2.0")
    assert carried.unread_updates == ()
