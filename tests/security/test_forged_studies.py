"""Every forgery is found as shown in the table in docs/reliability.md, and honest studies do not raise suspicion."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from forgeries import DOCUMENT, FORGERIES, Forgery, page
from synthetic_study import FakeArm, FakeStudy, write_study
from tiny_study import changed, write

import analysis
from ablations import verify
from ablations.commands.verify import Verified
from ablations.sessions.launch import run
from aimlib.errors import StoreError
from analysis.reading.consistency import Consistency
from analysis.reading.files import collect, read_rows

SEEDS = 5
REFERENCE = Path(__file__).parents[1] / "data" / "reference"


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two finished studies, which differ in the learning rate."""
    folder = tmp_path_factory.mktemp("studies")
    for name, rate in (("out", 2e-3), ("other", 1e-3)):
        document = changed({"seeds": SEEDS, "base.training.optimizer.learning_rate": rate})
        assert run(write(folder, document), folder / name, executor="inline").code == 0
    return folder


@pytest.fixture(scope="module")
def before(studies: Path) -> tuple[str, str]:
    """Return the head of the first study's ledger, as a user would store it elsewhere, and the study's verdict."""
    head = verify(studies / "out").ledger.head
    assert head is not None
    return head, analysis.examine(analysis.load(studies / "out")).headline


@pytest.fixture
def study(studies: Path, tmp_path: Path) -> Path:
    """Return a copy of the first study; the second study is next to it."""
    return Path(shutil.copytree(studies, tmp_path / "studies")) / "out"


def messages(found: Verified) -> str:
    damages = map(str, found.inspection.damages)
    return "\n".join((*damages, *found.contradictions, *found.ledger.contradictions, *found.deviations))


def loaded(study: Path) -> tuple[bool, str]:
    """Return whether the study is refused, and the reason."""
    try:
        analysis.load(study)
    except StoreError as error:
        return True, str(error)
    return False, ""


def judged(study: Path) -> tuple[str, str]:
    """Return the state of the verdict, and the messages about it."""
    try:
        findings = analysis.examine(analysis.load(study))
    except StoreError as error:
        return "refused", str(error)
    primary = findings.primary
    assert primary is not None
    if findings.contradictions:
        assert primary.verdict.kind == "withheld"
        assert findings.cautions[0].startswith("Stored rows contradict themselves, so verdicts on their arms are withh")
        assert "withheld (stored rows contradict themselves: run " in findings.headline
        return "withheld", findings.cautions[0]
    return "exploratory" if findings.deviations else "", findings.headline


def outcome(study: Path, head: str) -> tuple[Forgery, str]:
    """Return which checks detect the change (as a `Forgery`), and all messages."""
    is_refused, why = loaded(study)
    verdict, said = judged(study)
    found, with_head = verify(study), verify(study, head=head)
    is_found = not found.is_intact or bool(found.deviations)
    everything = "\n".join((why, said, messages(found)))
    return Forgery(print, is_refused, verdict, is_found, head=not with_head.is_intact or is_found), everything


def test_an_unchanged_study_does_not_raise_suspicion(study: Path, before: tuple[str, str]) -> None:
    found, _ = outcome(study, before[0])
    assert (found.load, found.verdict, found.verify, found.head) == (False, "", False, False)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_found_as_shown_in_the_table(name: str, study: Path, before: tuple[str, str]) -> None:
    forgery = FORGERIES[name]
    forgery.edit(study)
    found, said = outcome(study, before[0])
    assert [found.load, found.verdict, found.verify, found.head] == [
        forgery.load,
        forgery.verdict,
        forgery.verify,
        forgery.head,
    ], said
    assert forgery.says in said
    if "do not count" in name:
        assert before[1] in said


def test_contradictions_between_rows_come_first_in_the_report(study: Path, tmp_path: Path) -> None:
    FORGERIES["a seed copied from another seed; ledger too"].edit(study)
    page = analysis.report(study, tmp_path / "report").read_text(encoding="utf-8")
    said, withheld = page.index("Stored rows contradict themselves"), page.index("withheld (stored rows contradict")
    assert said < withheld
    document = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert document["cautions"][0].startswith("Stored rows contradict themselves, so verdicts on their arms are with")
    assert "`ablate verify` lists all contradictions; restore their files from a copy" in document["cautions"][0]


def test_the_page_contains_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert page(text) == text, "run `python tests/security/forgeries.py`"
    assert len(FORGERIES) >= 30


@pytest.mark.parametrize("folder", ["study/confirmation", "study/screening", "complete/confirmation"])
def test_studies_from_earlier_versions_do_not_raise_suspicion(folder: str) -> None:
    found, consistency = verify(REFERENCE / folder), Consistency()
    assert found.contradictions == ()
    assert found.is_intact
    collect(REFERENCE / folder, lambda path: read_rows(path, consistency.add))
    assert consistency.contradictions() == []


@pytest.mark.slow
def test_200_honest_studies_do_not_raise_suspicion(tmp_path: Path) -> None:
    """The studies differ in arms, seeds, images, classes, accuracies, outcomes and layout."""
    for number in range(200):
        rng = np.random.default_rng(number)
        arms = [FakeArm("baseline", "baseline", rng.uniform(0.1, 0.9)), FakeArm("aim", "aim", rng.uniform(0.1, 0.9))]
        arms += [FakeArm("matched", "matched", rng.uniform(0.1, 0.999), "aim")] * int(rng.integers(2))
        seeds = list(range(int(rng.integers(2, 9))))
        kinds = ["finished", "finished", "finished", "diverged", "failed", "pruned", "missing"]
        fake = FakeStudy(
            arms,
            seeds,
            status={(arm.name, seed): str(rng.choice(kinds)) for arm in arms for seed in seeds},
            epochs=int(rng.integers(2, 12)),
            images=int(rng.integers(60, 2000)),
            spread=float(rng.choice([0.0, 0.001, 0.01])),
            compacted=bool(rng.integers(2)),
            claim=None,
        )
        directory = write_study(tmp_path / str(number), fake, rng)
        findings = analysis.examine(analysis.load(directory))
        assert findings.contradictions == (), f"study {number}"
        assert findings.cautions == (), f"study {number}"
        shutil.rmtree(directory)
