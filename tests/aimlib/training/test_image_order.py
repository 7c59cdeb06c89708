"""The fixed image orders."""

from __future__ import annotations

import csv
import gzip
import hashlib
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimlib.config import RunConfig
from aimlib.errors import ConfigError
from aimlib.training.image_order import fixed_order

# Official names in Stanford Dogs. The first nine names in each split are the author's first nine, in this order. In the
# training split, they are the titles in a plot in his notebook (github.com/Joy-Lunkad/AiM, commit 3d79d31:
# control.ipynb).
FIRST_OF_TRAIN = (
    "n02094433-Yorkshire_terrier/n02094433_10123.jpg",
    "n02115913-dhole/n02115913_3998.jpg",
    "n02097130-giant_schnauzer/n02097130_2942.jpg",
    "n02111129-Leonberg/n02111129_2072.jpg",
    "n02113624-toy_poodle/n02113624_4349.jpg",
    "n02113978-Mexican_hairless/n02113978_2793.jpg",
    "n02102973-Irish_water_spaniel/n02102973_914.jpg",
    "n02088094-Afghan_hound/n02088094_4049.jpg",
    "n02088632-bluetick/n02088632_1636.jpg",
)
OTHERS_OF_TRAIN = (
    "n02092002-Scottish_deerhound/n02092002_14567.jpg",
    "n02088466-bloodhound/n02088466_8813.jpg",
    "n02113186-Cardigan/n02113186_3457.jpg",
    "n02111500-Great_Pyrenees/n02111500_870.jpg",
    "n02090721-Irish_wolfhound/n02090721_1696.jpg",
    "n02108915-French_bulldog/n02108915_5813.jpg",
    "n02100583-vizsla/n02100583_66.jpg",
    "n02106030-collie/n02106030_7689.jpg",
    "n02105855-Shetland_sheepdog/n02105855_13090.jpg",
    "n02112350-keeshond/n02112350_9987.jpg",
    "n02091032-Italian_greyhound/n02091032_334.jpg",
    "n02093428-American_Staffordshire_terrier/n02093428_4552.jpg",
    "n02102480-Sussex_spaniel/n02102480_1525.jpg",
    "n02096177-cairn/n02096177_3434.jpg",
    "n02106030-collie/n02106030_124.jpg",
    "n02095570-Lakeland_terrier/n02095570_1310.jpg",
    "n02099712-Labrador_retriever/n02099712_6318.jpg",
    "n02102177-Welsh_springer_spaniel/n02102177_2148.jpg",
    "n02098105-soft-coated_wheaten_terrier/n02098105_2256.jpg",
    "n02090622-borzoi/n02090622_2055.jpg",
    "n02116738-African_hunting_dog/n02116738_7988.jpg",
    "n02110958-pug/n02110958_3644.jpg",
    "n02089973-English_foxhound/n02089973_319.jpg",
    "n02099429-curly-coated_retriever/n02099429_249.jpg",
    "n02102318-cocker_spaniel/n02102318_9452.jpg",
    "n02105855-Shetland_sheepdog/n02105855_7527.jpg",
    "n02093428-American_Staffordshire_terrier/n02093428_1162.jpg",
    "n02091635-otterhound/n02091635_542.jpg",
    "n02113978-Mexican_hairless/n02113978_1088.jpg",
    "n02100583-vizsla/n02100583_7904.jpg",
    "n02106662-German_shepherd/n02106662_12969.jpg",
)
FIRST_OF_TEST = (
    "n02102177-Welsh_springer_spaniel/n02102177_392.jpg",
    "n02106662-German_shepherd/n02106662_27251.jpg",
    "n02099712-Labrador_retriever/n02099712_3197.jpg",
    "n02088466-bloodhound/n02088466_8032.jpg",
    "n02107683-Bernese_mountain_dog/n02107683_1400.jpg",
    "n02093859-Kerry_blue_terrier/n02093859_1209.jpg",
    "n02099429-curly-coated_retriever/n02099429_2119.jpg",
    "n02088094-Afghan_hound/n02088094_3374.jpg",
    "n02102318-cocker_spaniel/n02102318_6213.jpg",
)
OTHERS_OF_TEST = (
    "n02099712-Labrador_retriever/n02099712_7866.jpg",
    "n02108551-Tibetan_mastiff/n02108551_5547.jpg",
    "n02111129-Leonberg/n02111129_17.jpg",
    "n02088238-basset/n02088238_9162.jpg",
    "n02096177-cairn/n02096177_4082.jpg",
    "n02090379-redbone/n02090379_2420.jpg",
    "n02105162-malinois/n02105162_9368.jpg",
    "n02085936-Maltese_dog/n02085936_2318.jpg",
    "n02107142-Doberman/n02107142_5181.jpg",
    "n02111889-Samoyed/n02111889_597.jpg",
    "n02111500-Great_Pyrenees/n02111500_1943.jpg",
    "n02096437-Dandie_Dinmont/n02096437_1521.jpg",
    "n02092002-Scottish_deerhound/n02092002_1438.jpg",
    "n02091635-otterhound/n02091635_2377.jpg",
    "n02093647-Bedlington_terrier/n02093647_3079.jpg",
    "n02095889-Sealyham_terrier/n02095889_1213.jpg",
    "n02086646-Blenheim_spaniel/n02086646_2011.jpg",
    "n02094258-Norwich_terrier/n02094258_3253.jpg",
    "n02096177-cairn/n02096177_170.jpg",
    "n02090622-borzoi/n02090622_5858.jpg",
    "n02097047-miniature_schnauzer/n02097047_5253.jpg",
    "n02100236-German_short-haired_pointer/n02100236_485.jpg",
    "n02097474-Tibetan_terrier/n02097474_7343.jpg",
    "n02100735-English_setter/n02100735_10188.jpg",
    "n02096177-cairn/n02096177_2703.jpg",
    "n02108000-EntleBucher/n02108000_1087.jpg",
    "n02098413-Lhasa/n02098413_5409.jpg",
    "n02086240-Shih-Tzu/n02086240_2003.jpg",
    "n02097209-standard_schnauzer/n02097209_908.jpg",
    "n02107683-Bernese_mountain_dog/n02107683_2683.jpg",
    "n02107683-Bernese_mountain_dog/n02107683_3138.jpg",
)
SPLITS = [("train", FIRST_OF_TRAIN, OTHERS_OF_TRAIN), ("test", FIRST_OF_TEST, OTHERS_OF_TEST)]
DROPPED = {
    "n02086910-papillon/n02086910_7837.jpg",
    "n02090721-Irish_wolfhound/n02090721_1861.jpg",
    "n02092002-Scottish_deerhound/n02092002_3314.jpg",
    "n02107142-Doberman/n02107142_16917.jpg",
}
"""The test images that are left out with the incomplete last batch of 16."""


def ordered(names: list[str], split: str, data: str = "stanford_dogs") -> list[str]:
    return [names[i] for i in fixed_order(np.arange(len(names)), names, "tfds", split=split, data=data)]


@pytest.mark.parametrize(("split", "first", "others"), SPLITS)
def test_the_first_nine_images_are_those_in_the_authors_notebook(
    split: str, first: tuple[str, ...], others: tuple[str, ...]
) -> None:
    assert tuple(ordered(sorted(first + others), split)[:9]) == first


@pytest.mark.parametrize(("split", "first", "others"), SPLITS)
def test_a_different_salt_or_different_keys_change_the_order(
    split: str, first: tuple[str, ...], others: tuple[str, ...]
) -> None:
    names = sorted(first + others)
    assert tuple(ordered(names, {"train": "test", "test": "train"}[split])[:9]) != first
    assert tuple(ordered(names, split, data="image_folder")[:9]) != first


def test_the_official_names_yield_the_authors_first_and_dropped_images(stanford_dogs_root: Path) -> None:
    table = stanford_dogs_root.parent / "stanford-dogs-names.csv.gz"
    if not table.is_file():
        pytest.skip(f"no table of the official names at {table}")
    with gzip.open(table, "rt") as file:
        rows = list(csv.DictReader(file))
    for split, first, count in (("train", FIRST_OF_TRAIN, 12_000), ("test", FIRST_OF_TEST, 8_580)):
        found = ordered([row["path"] for row in rows if row["split"] == split], split)
        assert len(set(found)) == count
        assert tuple(found[:9]) == first
    assert set(found[8_576:]) == DROPPED


def as_tensorflow_reads(names: list[str], split: str) -> list[str]:
    """Sort, cut and interleave names with iterators, as tf.data's `interleave(cycle_length=4, block_length=16)`."""
    stored = sorted(names, key=lambda name: int(hashlib.md5((split + name).encode()).hexdigest(), 16))
    shards = [iter(stored[round(len(names) * i / 4) : round(len(names) * (i + 1) / 4)]) for i in range(4)]
    found: list[str] = []
    while len(found) < len(names):
        found += chain.from_iterable(list(islice(shard, 16)) for shard in shards)
    return found


@given(st.integers(0, 300))
def test_shards_are_read_in_turn_sixteen_images_at_a_time(count: int) -> None:
    names = [f"train/{i % 3}/{i}.png" for i in range(count)]
    assert ordered(names, "train", data="image_folder") == as_tensorflow_reads(names, "train")


def test_all_batches_except_the_last_come_from_one_shard() -> None:
    names = [str(i) for i in range(12_000)]
    shard_of = {
        name: rank // 3_000
        for rank, name in enumerate(sorted(names, key=lambda name: hashlib.md5(f"train{name}".encode()).digest()))
    }
    found = [shard_of[name] for name in ordered(names, "train", data="digits")]
    batches = [found[start : start + 16] for start in range(0, 12_000, 16)]
    assert [set(batch) for batch in batches[:748]] == [{k % 4} for k in range(748)]
    assert batches[748:] == [[0] * 8 + [1] * 8, [2] * 8 + [3] * 8]


@pytest.mark.parametrize("order", ["sha256", "tfds"])
def test_part_of_a_split_keeps_the_order_of_the_entire_split(order: str) -> None:
    names, part = [str(i) for i in range(200)], np.arange(0, 200, 3)
    whole = fixed_order(np.arange(200), names, order, split="train")
    assert fixed_order(part, names, order, split="train").tolist() == [i for i in whole if i % 3 == 0]


def document(**training: object) -> dict[str, object]:
    return {
        "model": {"backbone": "mlp"},
        "data": "digits",
        "training": {
            "epochs": 1,
            "batch_size": 8,
            "optimizer": {"name": "sgd", "learning_rate": 0.1},
            "selection": "last_epoch",
            **training,
        },
        "seed": 0,
    }


def test_the_order_is_part_of_the_run_id_only_if_it_is_not_the_default() -> None:
    plain, said, other = (
        RunConfig.parse(document(shuffle=False, **options)).run_id("data")
        for options in ({}, {"order": "sha256"}, {"order": "tfds"})
    )
    assert plain == said != other


def test_an_order_without_an_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"order: tfds has no effect.*set shuffle to false"):
        RunConfig.parse(document(order="tfds"))
    assert RunConfig.parse(document(order="tfds", evaluation_drop_last=True)).training.order == "tfds"
