"""A study with a custom claim keeps the claim when the study or the claim file is moved."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from blank_figures import blank_figures

import ablations
import analysis
from ablations.store import ResultStore
from ablations.store.inspection import inspect
from ablations.store.local_folder import LocalFolder
from aimlib.errors import StoreError
from aimlib.records.checksums import with_checksum
from analysis.claims.stored import claim_of, document_of, name_of

SHIPPED = Path(analysis.__file__).parent / "claims"


def own_claim(folder: Path, delta_pp: float = 1.0) -> Path:
    """Write a claim, and a table of reported runs next to it, for the studies that `study` writes."""
    folder.mkdir(parents=True)
    text = (SHIPPED / "stanford_dogs_aim.yaml").read_text("utf-8").replace("name: stanford_dogs_aim", "name: mine")
    text = re.sub(r"^delta_pp: .*$", f"delta_pp: {delta_pp}", text, flags=re.M)
    shutil.copy(SHIPPED / "reported_runs.csv", folder)
    (folder / "mine.yaml").write_text(text, "utf-8")
    return folder / "mine.yaml"


def study(claim: Path) -> dict[str, object]:
    return {
        "name": "tested",
        "claim": str(claim),
        "base": {
            "data": {"name": "digits", "size": 8, "train_images": 200},
            "model": {"backbone": "mlp"},
            "training": {"epochs": 1, "batch_size": 20, "optimizer": "adam", "selection": "last_epoch"},
        },
        "arms": {"baseline": {}, "aim": {"model": {"memory": "dense_ones", "placement": "every_layer"}}},
        "seeds": 5,
        "delta_pp": 1.0,
    }


def headline(directory: Path) -> str:
    return analysis.examine(analysis.load(directory)).headline


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    session = ablations.run(study(own_claim(folder / "one")), folder / "results", executor="inline")
    assert not session.failed
    return folder / "results"


@pytest.fixture
def copy(computed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(computed, tmp_path / "results")


def test_a_report_does_not_need_the_claim_file(computed: Path, copy: Path) -> None:
    before = headline(computed)
    shutil.move(computed.parent / "one", computed.parent / "elsewhere")
    try:
        assert headline(copy) == before
        claim = analysis.examine(analysis.load(copy)).claim
        assert claim is not None
        assert (claim.name, len(claim.curves)) == ("mine", len(analysis.claims.read_claim("stanford_dogs_aim").curves))
    finally:
        shutil.move(computed.parent / "elsewhere", computed.parent / "one")
    stored = json.loads((copy / "study.json").read_text("utf-8")), (copy / "analysis_plan.json").read_text("utf-8")
    assert stored[0]["claim"] == "mine.yaml"
    assert str(computed.parent) not in stored[1]


def with_claim(directory: Path, change: Callable[[dict[str, str]], object]) -> None:
    """Store the study's claim again after a change to its files, with the matching checksum."""
    path = directory / "claim.json"
    document = json.loads(path.read_text("utf-8"))
    change(document["files"])
    path.write_text(json.dumps(with_checksum(document)), "utf-8")


def test_the_report_says_if_the_wording_of_the_claim_differs_from_the_frozen_wording(
    copy: Path, tmp_path: Path
) -> None:
    def reword(files: dict[str, str]) -> None:
        files["mine.yaml"] = re.sub(r"^statement: .*$", "statement: Quite another one.", files["mine.yaml"], flags=re.M)

    caution = "The wording of the claim has changed since the analysis plan was frozen"
    with blank_figures():
        before = analysis.report(copy, tmp_path / "before").read_text("utf-8")
        with_claim(copy, reword)
        after = analysis.report(copy, tmp_path / "after").read_text("utf-8")
    assert caution not in before
    assert caution in after


@pytest.mark.parametrize("files", [{}, {"mine.yaml": 5}, {"other.yaml": "x"}])
def test_a_stored_claim_without_its_file_is_damaged(copy: Path, files: dict[str, object]) -> None:
    with_claim(copy, lambda stored: (stored.clear(), stored.update(files)))  # type: ignore[call-overload]
    with pytest.raises(StoreError, match=r"claim\.json: is damaged, or not the claim mine\.yaml"):
        headline(copy)


def test_changing_a_claim_makes_a_study_exploratory_but_moving_it_does_not(copy: Path, tmp_path: Path) -> None:
    session = ablations.run(study(own_claim(tmp_path / "moved")), copy, executor="inline")
    assert len(session.completed) == 10
    assert analysis.examine(analysis.load(copy)).deviations == ()
    text = (tmp_path / "moved" / "mine.yaml").read_text("utf-8")
    (tmp_path / "moved" / "mine.yaml").write_text(re.sub(r"treatment: [0-9.]+", "treatment: 0.9", text, count=1))
    ablations.run(study(tmp_path / "moved" / "mine.yaml"), copy, executor="inline")
    (found,) = analysis.examine(analysis.load(copy)).deviations
    assert "reported_gains_pp" in found.text


def test_a_damaged_or_missing_copy_is_reported_and_rewritten(copy: Path, computed: Path) -> None:
    path = copy / "claim.json"
    path.write_text(path.read_text("utf-8").replace("name: mine", "name: else"), "utf-8")
    with pytest.raises(StoreError, match=r"claim\.json: is damaged"):
        headline(copy)
    assert [damage.name for damage in inspect(LocalFolder(copy)).damages] == ["claim.json"]
    document = json.loads(path.read_text("utf-8"))
    del document["checksum"]
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(StoreError, match=r"claim\.json: is damaged"):
        headline(copy)
    assert [damage.problem for damage in inspect(LocalFolder(copy)).damages] == ["its checksum is missing"]
    path.unlink()
    with pytest.raises(StoreError, match=r"claim\.json: is missing.*ablate run"):
        headline(copy)
    ablations.run(study(computed.parent / "one" / "mine.yaml"), copy, executor="inline")
    assert headline(copy) == headline(computed)


def test_a_study_from_an_earlier_version_stores_the_path_of_its_claim(copy: Path, tmp_path: Path) -> None:
    claim = own_claim(tmp_path / "theirs")
    (copy / "claim.json").unlink()
    found = claim_of(str(claim), copy)
    assert found is not None
    assert found.name == "mine"
    assert name_of(str(claim)) == name_of("C:\\theirs\\mine.yaml") == "mine.yaml"
    assert name_of("stanford_dogs_aim") == "stanford_dogs_aim"


def test_an_archive_contains_the_claim_but_not_its_path(copy: Path, tmp_path: Path) -> None:
    packed = ablations.archive(copy, tmp_path / "tested.tar.gz")
    assert not any("mine.yaml" in each for each in packed.looks_private)
    assert ablations.recompute(packed.path).verdict == headline(copy)


def test_the_stored_file_contains_the_claim_and_its_table(tmp_path: Path) -> None:
    claim = own_claim(tmp_path / "one")
    document = document_of(str(claim))
    assert set(document["files"]) == {"mine.yaml", "reported_runs.csv"}
    (tmp_path / "study").mkdir()
    ResultStore(tmp_path / "study").write_claim(document)
    found, given = claim_of("mine.yaml", tmp_path / "study"), analysis.claims.read_claim(claim)
    assert found is not None
    assert found.facts == given.facts
    assert found.curves.equals(given.curves)
