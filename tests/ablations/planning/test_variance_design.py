"""The variance design has one arm per source, in which only one random stream follows the seed."""

from __future__ import annotations

from typing import Any

import pytest

from ablations.planning.arms import expand
from ablations.spec.sources import FIXED_SEED
from ablations.spec.study import read_study
from aimlib.config import STREAMS
from aimlib.errors import ConfigError

MEMORY = {"model": {"memory": {"name": "dense_ones", "floats": 16}, "placement": "every_layer"}}


def study(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "data": "digits",
        "model": {"backbone": {"name": "mlp", "widths": [8]}},
        "training": {
            "epochs": 1,
            "batch_size": 32,
            "optimizer": "adam",
            "selection": "last_epoch",
            "augmentation": {"translation": 0.1},
        },
    }
    arms = {"baseline": {}, "aim": MEMORY, "frozen": {"of": "aim", "control": "frozen_memory"}}
    return {"name": "s", "base": base, "arms": arms, "design": "variance", **changes}


def test_every_arm_has_one_variance_arm_per_source_in_which_all_other_streams_are_fixed() -> None:
    arms = {arm.name: arm for arm in expand(read_study(study()))}
    sources = ("split", "init", "order", "augmentation")
    assert set(arms) == {*study()["arms"], *(f"{name}[{source}]" for name in study()["arms"] for source in sources)}
    for name in study()["arms"]:
        assert "streams" not in arms[name].config.identity()["training"]
        for source in sources:
            arm = arms[f"{name}[{source}]"]
            assert arm.role == "other"
            drawn = {stream: arm.run(3).seed_of(stream) for stream in STREAMS}
            assert drawn == {stream: 3 if stream == source else FIXED_SEED for stream in STREAMS}
            assert arm.config.model == arms[name].config.model


def test_the_run_ids_of_the_arms_in_the_study_do_not_depend_on_the_design() -> None:
    plain = {key: value for key, value in study().items() if key != "design"}
    with_design = {arm.name: arm.config.run_id("d") for arm in expand(read_study(study()))}
    for arm in expand(read_study(plain)):
        assert with_design[arm.name] == arm.config.run_id("d")


def test_sources_vary_and_the_fixed_seed_narrows_the_design() -> None:
    given = study(sources=["init", "noise"], vary="aim", fixed_seed=77)
    arms = {arm.name: arm for arm in expand(read_study(given))}
    assert set(arms) == {"baseline", "aim", "frozen", "aim[init]", "aim[noise]"}
    assert {arms["aim[noise]"].run(3).seed_of(stream) for stream in STREAMS} == {77}


def test_by_default_only_the_sources_that_an_arm_uses_are_varied_and_others_are_refused() -> None:
    given = study()
    given["base"]["training"] |= {"augmentation": None, "validation_fraction": 0.0}
    names = [arm.name for arm in expand(read_study(given)) if arm.of == "baseline"]
    assert names == ["baseline[init]", "baseline[order]"]
    with pytest.raises(ConfigError, match=r"sources: augmentation has no effect"):
        expand(read_study({**given, "sources": ["augmentation"]}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fixed_seed": 2}, "fixed_seed: 2 is also a seed of the study"),
        ({"sources": ["init", "init"]}, "init is listed twice"),
        ({"vary": "ami"}, "vary: unknown arm 'ami'"),
        ({"factors": {"training.epochs": [1, 2]}}, "remove the factors"),
        ({"design": None, "sources": ["init"]}, "sources: no effect without design: variance"),
        ({"arms": {"a": {"training": {"streams": {"init": 1}}}}}, "sets the streams itself"),
        ({"arms": {"a": {}, "a[init]": MEMORY}}, "uses this name for one of the arms it adds"),
        ({"sources": ["inti"]}, "sources"),
    ],
)
def test_options_that_do_not_fit_the_design_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(read_study(study(**changes)))
    assert message in str(caught.value)
