"""Every shipped study runs unchanged on data with the shape of the real data, and has a small version for a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from step_cases import arms_of

from ablations.commands.check import check
from ablations.planning import plan as planning
from ablations.planning.protocol import protocol
from ablations.spec.study import read_study, shipped_studies
from aimlib.errors import ConfigError

pytestmark = pytest.mark.xdist_group("shipped studies")  # expanding the arms takes seconds in every process
FULL = {
    "replication",
    "controlled",
    "vgg16",
    "confounds",
    "placement",
    "update",
    "memory_size",
    "mlp",
    "screening",
}
"""Studies for a cluster; each has a small version called ``<name>_small``."""
OWN = "squeeze_excitation"
"""A study about something other than memory."""

PROTOCOLS = {
    "replication": "as_run_exact",
    "confounds": "as_run_exact",
    "replication_small": "custom",
    "confounds_small": "custom",
    OWN: "custom",
}
"""Studies that are not controlled. The small version of an as-run study differs from the author's run."""


def test_every_study_has_a_small_version() -> None:
    assert set(shipped_studies()) == {"demo", OWN, "variance_small", *FULL, *(f"{name}_small" for name in FULL)}


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_every_shipped_study_is_valid(name: str) -> None:
    """Check everything except data that is missing on this machine."""
    study = read_study(name)
    assert study.spec.name == name == study.path.stem
    assert study.path.read_text(encoding="utf-8").startswith("#"), "it says what it is for"
    assert len(study.spec.seeds) >= 5
    arms = list(arms_of(name).values())
    roles = [arm.role for arm in arms]
    assert roles.count("baseline") == 1
    assert "aim" in roles
    assert protocol(tuple(arms)) == PROTOCOLS.get(name, "controlled")
    first = {arm.role: arm for arm in reversed(arms)}
    summaries = planning.summaries_of(list(first.values()))
    of_role = {role: summaries[arm.name] for role, arm in first.items()}
    assert of_role["baseline"].parameters < of_role["aim"].parameters
    if "matched" in of_role:
        assert of_role["matched"].parameters == pytest.approx(of_role["aim"].parameters, rel=0.005)
    if "frozen" in of_role:
        assert of_role["frozen"].parameters == of_role["aim"].parameters
        assert of_role["frozen"].trainable_parameters < of_role["aim"].trainable_parameters
    assert of_role["aim"].attachment.skipped == {}


@pytest.mark.parametrize("name", sorted(FULL))
def test_a_full_study_uses_the_real_data_and_its_small_version_is_smaller(name: str) -> None:
    full, twin = arms_of(name), arms_of(f"{name}_small")
    data = next(iter(full.values())).config.data
    assert (data.name, getattr(data, "classes", None)) == ("stanford_dogs", 120)
    assert {arm for arm in twin if "[" not in arm} <= set(full), "a twin has no arm of its own but its levels"
    both = set(full) & set(twin)
    assert len(both) >= 2
    for arm in both:
        ours, theirs = twin[arm].config, full[arm].config
        assert ours.model.backbone.name == theirs.model.backbone.name or ours.model.backbone.name == "small_resnet"
        assert (ours.model.control is None) == (theirs.model.control is None)
        assert (ours.model.update is None) == (theirs.model.update is None)


@pytest.mark.parametrize("name", ["confounds", "confounds_small"])
def test_the_confounds_are_the_five_differences_between_the_two_as_run_arms(name: str) -> None:
    arms = arms_of(name)
    factors = ["memory", "stem", "passes", "init", "epsilon"]
    on = {"with", "1", "he_normal", "1e-3"}
    switched = {arm: [f for f in factors if entry.levels[f] in on] for arm, entry in arms.items()}
    forward = [factors[:count] for count in range(6)]
    backward = [factors[count:] for count in range(6)]
    assert sorted(switched.values()) == sorted([*forward, *backward[1:5], ["stem"]])
    assert switched["control"] == []
    assert switched["aim"] == factors
    # Memory by stem, with everything else as in the control: these four arms are required to estimate the interaction.
    assert {"control", "control+memory", "stem", "control+memory+stem"} <= set(arms)
    assert [arms[arm].role for arm in ("control", "aim", "stem")] == ["baseline", "aim", "other"]
    assert len(arms_of(name, "design=full_factorial")) == 32


def test_the_corners_of_the_confounds_equal_the_two_as_run_arms() -> None:
    confounds, replication = arms_of("confounds"), arms_of("replication")
    assert confounds["control"].config == replication["baseline"].config
    assert confounds["aim"].config == replication["aim"].config


def test_memory_size_varies_the_values_and_the_source() -> None:
    arms = arms_of("memory_size")
    values = {arm.config.model.memory.values for arm in arms.values() if arm.config.model.memory}
    assert values == {3_136, 12_544, 50_176, 100_352}
    assert {arm.config.model.memory.name for arm in arms.values() if arm.config.model.memory} == {
        "conv_ones",
        "parameter",
        "noise",
    }


def test_the_vgg16_recipe_as_run_is_not_part_of_the_comparison() -> None:
    arm = arms_of("vgg16")["recipe_as_run"]
    assert arm.role == "other"
    assert arm.config.model.backbone.name == "vgg16"
    training = arm.config.training
    assert (training.batch_size, training.optimizer.learning_rate, training.monitor) == (64, 1e-2, "test")
    assert (training.shuffle, training.order, training.evaluation_drop_last) == (False, "tfds", True)
    assert arm.config.model.backbone.bn_variance == "population"
    data = arm.config.data
    assert (data.antialias, data.decoder, data.pixels) == (False, "fast", "fine")


def test_the_study_without_memory_has_its_own_words_and_gates() -> None:
    result = check(OWN, timing=False)
    document = planning.document(result.plan)
    assert (document["what"], document["claim"]) == ("squeeze-and-excitation", None)
    assert [control for _, _, control in planning.analysis_plan(document, document["claim"])["comparisons"][:4]] == [
        "baseline",
        "wider",
        "constant",
        "frozen",
    ]
    assert all(summary.memory_values == 0 for summary in result.plan.summaries.values())
    sizes = {name: summary.parameters for name, summary in result.plan.summaries.items()}
    assert sizes["wider"] == pytest.approx(sizes["gated"], rel=0.005), "the wider network has as many parameters"
    assert result.notes == ()


def test_the_demo_does_not_need_a_download() -> None:
    result = check("demo", timing=False)
    assert len(result.plan.runs) == len(result.plan.arms) * len(result.plan.study.spec.seeds)
    assert {run.fingerprint for run in result.plan.runs} == {result.plan.data["aim"].fingerprint}
    assert planning.document(result.plan)["claim"] == "stanford_dogs_aim"


@pytest.mark.parametrize(
    "name",
    [
        "mlp_small",
        *(pytest.param(f"{name}_small", marks=pytest.mark.slow) for name in ("update", "memory_size", "screening")),
    ],
)  # each slow case expands the arms again, which takes seconds
def test_small_versions_on_digits_do_not_need_a_download(name: str) -> None:
    result = check(name, timing=False)
    assert len(result.plan.runs) == len(result.plan.arms) * 5


def test_if_the_photos_are_missing_a_study_says_where_to_get_them() -> None:
    with pytest.raises(ConfigError, match=r"replication.yaml: base.data: stanford_dogs: .*ablate data download"):
        check("replication", timing=False)


@pytest.mark.photos
@pytest.mark.parametrize(
    "name",
    ["controlled_small", *(pytest.param(name, marks=pytest.mark.slow) for name in ("placement_small", "vgg16_small"))],
)  # the slow cases use the same data
def test_small_versions_run_on_real_photos(name: str, stanford_dogs_root: Path, tmp_path: Path) -> None:
    result = check(name, [f"data.root={stanford_dogs_root}", "seeds=1"], timing=False)
    data = result.plan.data["baseline"]
    assert len(data.classes) == 20
    assert data.train.pixels.shape[1:] == (64, 64, 3)
    elsewhere = tmp_path / "moved"
    elsewhere.symlink_to(stanford_dogs_root)
    moved = check(name, [f"data.root={elsewhere}", "seeds=1"], timing=False)
    assert [run.run_id for run in moved.plan.runs] == [run.run_id for run in result.plan.runs], (
        "a path is not an identity"
    )


@pytest.mark.slow  # decoding all photos twice takes ten seconds
@pytest.mark.photos
def test_the_as_run_study_resizes_photos_as_tensorflow_does(stanford_dogs_root: Path) -> None:
    result = check("replication_small", [f"data.root={stanford_dogs_root}", "seeds=1"], timing=False)
    controlled = check("controlled_small", [f"data.root={stanford_dogs_root}", "seeds=1"], timing=False)
    assert result.plan.data["aim"].fingerprint != controlled.plan.data["aim"].fingerprint
