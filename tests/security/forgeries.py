"""Forgeries and accidents in a finished study, each with the change and the check that finds it. The checksums match
the forged content. `ledger_too` also rewrites the ledger for the changed rows. ``python tests/security/forgeries.py``
generates the table in docs/reliability.md.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ablations.store import ResultStore
from aimlib.records import run_schema, write_table
from aimlib.records.checksums import with_checksum
from analysis.analysis_plan import digest

Row = dict[str, Any]
Edit = Callable[[Path], object]
ARM, SEED = "aim", 1
"""Arm and seed of the run that most forgeries change."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- forgeries: written by tests/security/forgeries.py -->", "<!-- end of forgeries -->"
_SELECTED = ("test_accuracy", "test_loss", "test_top5_accuracy", "validation_accuracy", "validation_loss")
_OWN = ("run_id", "identity", "config", "arm", "seed", "data_fingerprint")


@dataclass(frozen=True)
class Forgery:
    """A forgery or an accident, and the check that finds it.

    Attributes
    ----------
    edit : function that receives the study directory; another study is next to it, as ``other``.
    load : whether `analysis.load` refuses the study.
    verdict : ``refused``, ``withheld`` or ``exploratory``; empty if the verdict is stated as usual.
    verify : whether `ablate verify` finds the change without a head; a reported deviation from the frozen plan also
        counts.
    says : part of the first message that reports the change.
    head : whether `ablate verify --head` finds the change.
    """

    edit: Edit
    load: bool = False
    verdict: str = ""
    verify: bool = True
    says: str = ""
    head: bool = True


def row_file(study: Path, arm: str = ARM, seed: int = SEED) -> Path:
    plan = json.loads((study / "study.json").read_text())
    (found,) = [each["run_id"] for each in plan["runs"] if (each["arm"], each["seed"]) == (arm, seed)]
    return study / "runs" / f"{found}.parquet"


def read_row(path: Path) -> Row:
    (row,) = pq.read_table(path).to_pylist()
    return dict(row)


def change_rows(path: Path, change: Callable[[Row], object]) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    path.unlink()
    write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def row(change: Callable[[Row], object], arm: str = ARM, seed: int = SEED) -> Edit:
    """Return an edit of one run's row."""
    return lambda study: change_rows(row_file(study, arm, seed), change)


def ledger_too(*edits: Edit) -> Edit:
    """Return an edit that makes these edits, and then rewrites the ledger for the changed rows."""

    def edit(study: Path) -> None:
        for each in edits:
            each(study)
        shutil.rmtree(study / "ledger")
        ResultStore(study).ledger("f" * 12).end()

    return edit


def without_ledger(*edits: Edit) -> Edit:
    """Return an edit that makes these edits, and then makes the study look as if it had never had a ledger."""

    def edit(study: Path) -> None:
        for each in edits:
            each(study)
        for path in [*(study / "runs").iterdir(), *(study / "segments").iterdir()]:
            change_rows(path, lambda row: row.update(reference=None))
        shutil.rmtree(study / "ledger")

    return edit


def plan(change: Callable[[Row], object], *, copies: bool) -> Edit:
    """Return an edit of study.json and, with `copies`, also of the plan in plans/."""

    def edit(study: Path) -> None:
        document = json.loads((study / "study.json").read_text())
        change(document)
        text = json.dumps(with_checksum(document))
        for name in ("study.json", *(["plans/000.json"] if copies else [])):
            (study / name).write_text(text)

    return edit


def frozen(change: Callable[[Row], object]) -> Edit:
    """Return an edit of the frozen plan, with the SHA-256 of the new content."""

    def edit(study: Path) -> None:
        path = study / "analysis_plan.json"
        document = json.loads(path.read_text())
        change(document)
        document["sha256"] = digest(document["frozen_at"], document["runs_before"], document["content"])
        path.write_text(json.dumps(document))

    return edit


def from_the_other(name: str) -> Edit:
    def edit(study: Path) -> None:
        target, source = study / name, study.parent / "other" / name
        (shutil.rmtree if target.is_dir() else Path.unlink)(target)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)

    return edit


def removed(name: str) -> Edit:
    return lambda study: (shutil.rmtree if (study / name).is_dir() else Path.unlink)(study / name)


def predictions(row: Row) -> np.ndarray:
    return np.frombuffer(row["predictions"], np.uint8).reshape(row["predictions.epochs"], -1).copy()


def accuracy_alone(row: Row) -> None:
    row["test_accuracy"] = 0.95


def accuracy_and_curve(row: Row) -> None:
    row["test_accuracy"] = row["epochs.test_accuracy"][row["selected_epoch"] - 1] = 0.95


def predictions_alone(row: Row) -> None:
    changed = predictions(row)
    changed[row["selected_epoch"] - 1, :40] = (changed[row["selected_epoch"] - 1, :40] + 1) % 10
    row["predictions"] = changed.tobytes()


def better(study: Path) -> None:
    """Increase an accuracy consistently in the predictions, the curve and the row."""
    (images,) = (study / "images").iterdir()
    labels = np.array(pq.read_table(images).column("label").to_pylist())

    def change(row: Row) -> None:
        changed, at = predictions(row), row["selected_epoch"] - 1
        wrong = np.flatnonzero(changed[at] != labels)[:50]
        changed[at, wrong] = labels[wrong]
        row["predictions"] = changed.tobytes()
        row["test_accuracy"] = row["epochs.test_accuracy"][at] = float((changed[at] == labels).mean())

    change_rows(row_file(study), change)


def exchange_results(study: Path) -> None:
    """Exchange the results of two runs, which keep their ids."""
    paths = row_file(study, "aim"), row_file(study, "baseline")
    rows, schema = [read_row(path) for path in paths], pq.read_schema(paths[0])
    for path, mine, theirs in zip(paths, rows, reversed(rows), strict=True):
        path.unlink()
        write_table(pa.Table.from_pylist([{**theirs, **{key: mine[key] for key in _OWN}}], schema=schema), path)


def copy_seed(study: Path) -> None:
    """Give a run the results of another seed of the same arm."""
    path = row_file(study)
    mine, theirs = read_row(path), read_row(row_file(study, seed=0))
    times = ("started_at", "finished_at", "seconds")
    new = {**theirs, **{key: mine[key] for key in _OWN}, **{key: theirs[key] for key in times}}
    new["config"] = mine["config"]
    schema = pq.read_schema(path)
    path.unlink()
    write_table(pa.Table.from_pylist([new], schema=schema), path)


def copy_seed_with_other_predictions(study: Path) -> None:
    """Copy a seed, and change wrong predictions to other wrong predictions, so that the accuracies stay the same."""
    copy_seed(study)
    (images,) = (study / "images").iterdir()
    labels = np.array(pq.read_table(images).column("label").to_pylist())

    def change(row: Row) -> None:
        changed = predictions(row)
        for epoch in changed:
            wrong = np.flatnonzero(epoch != labels)[:5]
            epoch[wrong] = [next(c for c in range(10) if c not in (labels[i], epoch[i])) for i in wrong]
        row["predictions"] = changed.tobytes()

    change_rows(row_file(study), change)


def second_row(study: Path) -> None:
    """Store a different row for a run in a segment, which takes precedence over the run file."""
    path = row_file(study)
    new = {**read_row(path), "seconds": 99.0}
    write_table(pa.Table.from_pylist([new], schema=pq.read_schema(path)), study / "segments" / f"{0:020x}.parquet")


def other_epoch(row: Row) -> None:
    """Select the run's other epoch, with all values of that epoch."""
    row["selected_epoch"] = 3 - row["selected_epoch"]
    for name in _SELECTED:
        row[name] = row[f"epochs.{name}"][row["selected_epoch"] - 1]


def one_epoch_less(row: Row) -> None:
    for name in [name for name in row if name.startswith("epochs.")]:
        row[name] = row[name][:1]
    row["predictions"] = predictions(row)[:1].tobytes()
    row |= {"predictions.epochs": 1, "epochs_run": 1, "selected_epoch": 1}
    for name in _SELECTED:
        row[name] = row[f"epochs.{name}"][0]


def numbers_of_epochs_reversed(row: Row) -> None:
    row["epochs.epoch"] = row["epochs.epoch"][::-1]


def epochs_reversed(row: Row) -> None:
    """Reverse everything except the numbers of the epochs."""
    for name in [name for name in row if name.startswith("epochs.") and name != "epochs.epoch"]:
        row[name] = row[name][::-1]
    row["predictions"] = predictions(row)[::-1].tobytes()
    values = row["epochs.validation_accuracy"]
    row["selected_epoch"] = values.index(max(values)) + 1
    for name in _SELECTED:
        row[name] = row[f"epochs.{name}"][row["selected_epoch"] - 1]


def config(old: str, new: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        assert old in row["config"]
        row["config"] = row["config"].replace(old, new)

    return change


def moved(**hours: float) -> Callable[[Row], None]:
    """Return an edit that shifts times by some hours."""

    def change(row: Row) -> None:
        for name, by in hours.items():
            row[name] += timedelta(hours=by)

    return change


def of_another_study(study: Path) -> None:
    """Store another study's row under the id of one of this study's runs."""
    mine, path = row_file(study), row_file(study.parent / "other")
    new = {**read_row(path), "run_id": mine.stem}
    schema = pq.read_schema(path)
    mine.unlink()
    write_table(pa.Table.from_pylist([new], schema=schema), mine)


def rows_of_another_study(study: Path) -> None:
    for path in (study.parent / "other" / "runs").iterdir():
        shutil.copy(path, study / "runs")


def labels_exchanged(study: Path) -> None:
    (path,) = (study / "images").iterdir()
    change_rows(path, lambda row: row.update(label={3: 5, 5: 3}.get(row["label"], row["label"])))


def images_exchanged(study: Path) -> None:
    """Exchange the first half of the test images with the second half."""
    (path,) = (study / "images").iterdir()
    number = pq.read_metadata(path).num_rows
    change_rows(path, lambda row: row.update(image=(row["image"] + number // 2) % number))


def without_seed(document: Row) -> None:
    document["seeds"] = [seed for seed in document["seeds"] if seed != SEED]
    document["runs"] = [each for each in document["runs"] if each["seed"] != SEED]


def exchange(key: str, one: Any, other: Any) -> Callable[[Row], None]:
    """Return an edit that exchanges two arms, or two seeds of the treatment, in the list of runs."""

    def change(document: Row) -> None:
        for each in document["runs"]:
            if key == "arm" or each["arm"] == ARM:
                each[key] = {one: other, other: one}.get(each[key], each[key])

    return change


def exchange_roles(document: Row) -> None:
    roles = {"aim": "baseline", "baseline": "aim"}
    for arm in document["arms"]:
        arm["role"] = roles.get(arm["role"], arm["role"])


def fewer_epochs_of_the_treatment(document: Row) -> None:
    for arm in document["arms"]:
        arm["config"]["training"]["epochs"] = 1 if arm["name"] == ARM else 2


def both_rows_of_the_seed_removed(study: Path) -> None:
    for arm in ("aim", "baseline"):
        row_file(study, arm).unlink()


def rewound(study: Path) -> None:
    """Remove the last row, and the lines of the ledger from that row's entry to the end."""
    (page,) = (study / "ledger").iterdir()
    lines = page.read_text().splitlines(keepends=True)
    last = max(at for at, line in enumerate(lines) if line.startswith("row "))
    (study / "runs" / f"{lines[last].split()[1]}.parquet").unlink()
    page.write_text("".join(lines[:last]))


def frozen_again(study: Path) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    frozen(lambda document: document.update(frozen_at=later))(study)


def overlapping(study: Path) -> None:
    """Set the times of the first two runs to the same half hour, in a session that computes one run at a time."""
    (path,) = (study / "live").iterdir()
    state = json.loads(path.read_text())
    begin = datetime.now(UTC) - timedelta(hours=1)
    state |= {"began_at": (begin - timedelta(hours=9)).isoformat(), "at": datetime.now(UTC).isoformat()}
    path.write_text(json.dumps(with_checksum({k: v for k, v in state.items() if k != "checksum"})))
    times = {"started_at": begin, "finished_at": begin + timedelta(minutes=30)}
    for arm in ("aim", "baseline"):
        row(lambda each: each.update(times), arm)(study)
    frozen(lambda document: document.update(frozen_at=(begin - timedelta(hours=1)).isoformat()))(study)


def cut_off(study: Path) -> None:
    path = row_file(study)
    path.write_bytes(path.read_bytes()[:-900])


def entry_declared_lost(study: Path) -> None:
    """Change a row, and add ledger entries that say that the old row was lost and the new row was computed instead."""
    better(study)
    ledger = ResultStore(study).ledger("e" * 12)
    ledger.join()
    from aimlib.records.row_digests import row_digests

    path = row_file(study)
    from analysis.reading.ledger import read

    (old,) = read(study).rows[path.stem]
    ledger._add("lost", path.stem, old)
    ledger.row(path.stem, row_digests(pq.read_table(path).select(run_schema().names))[0])
    ledger.end()


REPLACED = "it was replaced or changed"
NOT_KNOWN = "study.json: it is not one of the plans in plans/"
NOT_FROZEN = "analysis_plan.json: it is not the analysis plan in the ledger"
REFUSED, WITHHELD, EXPLORATORY = "refused", "withheld", "exploratory"

FORGERIES: dict[str, Forgery] = {
    # rows
    "an accuracy": Forgery(row(accuracy_alone), load=True, verdict=REFUSED, says="not the value in its selected epoch"),
    "an accuracy, also in the curve; ledger too": Forgery(
        ledger_too(row(accuracy_and_curve)), verdict=REFUSED, says="but its predictions give"
    ),
    "predictions; ledger too": Forgery(
        ledger_too(row(predictions_alone)), verdict=REFUSED, says="but its predictions give"
    ),
    "an accuracy, its curve and its predictions": Forgery(better, verdict=REFUSED, says=REPLACED),
    "an accuracy, its curve and its predictions; ledger too": Forgery(ledger_too(better), verify=False),
    "an accuracy, its curve and its predictions; the old row entered as lost": Forgery(
        entry_declared_lost, verify=False
    ),
    "results of two arms exchanged": Forgery(exchange_results, verdict=REFUSED, says=REPLACED),
    "a seed copied from another seed": Forgery(copy_seed, verdict=REFUSED, says=REPLACED),
    "a seed copied from another seed; ledger too": Forgery(
        ledger_too(copy_seed), verdict=WITHHELD, says="its predictions equal those of run"
    ),
    "a seed copied, with its wrong predictions changed; ledger too": Forgery(
        ledger_too(copy_seed_with_other_predictions),
        verdict=WITHHELD,
        says="its accuracies and losses equal those of run",
    ),
    "the selected epoch moved; ledger too": Forgery(
        ledger_too(row(other_epoch)), verdict=WITHHELD, says="but best_validation chooses"
    ),
    "a curve cut off after its first epoch; ledger too": Forgery(
        ledger_too(row(one_epoch_less)), verdict=WITHHELD, says="it ended after 1 of 2 epochs"
    ),
    "epochs numbered in reverse; ledger too": Forgery(
        ledger_too(row(numbers_of_epochs_reversed)), verdict=REFUSED, says="its epochs are not 1 to 2"
    ),
    "epochs reversed, with predictions and selection; ledger too": Forgery(
        ledger_too(row(epochs_reversed)), verify=False
    ),
    "an option in a run's configuration; ledger too": Forgery(
        ledger_too(row(config('"learning_rate": 0.002', '"learning_rate": 0.02'))),
        verdict=WITHHELD,
        says="training.optimizer.learning_rate in its configuration differs from the text that its run id hashes",
    ),
    "an option that had its default; ledger too": Forgery(
        ledger_too(row(config('"label_smoothing": 0.0', '"label_smoothing": 0.1'))),
        says="its run id is not the hash of its configuration",
    ),
    "the budget of a run; ledger too": Forgery(
        ledger_too(row(lambda each: each.update(epochs_planned=9))),
        verdict=WITHHELD,
        says="epochs_planned is 9, but 2 in its configuration",
    ),
    "the rule that chose the epoch; ledger too": Forgery(
        ledger_too(row(lambda each: each.update(selection="last_epoch"))),
        verdict=WITHHELD,
        says="selection is last_epoch, but best_validation in its configuration",
    ),
    "the seed of a row; ledger too": Forgery(
        ledger_too(row(lambda each: each.update(seed=77))),
        load=True,
        verdict=REFUSED,
        says="has a different seed or different data from its row",
    ),
    "the data fingerprint of a row": Forgery(
        row(lambda each: each.update(data_fingerprint="0" * 20)),
        load=True,
        verdict=REFUSED,
        says="has a different seed or different data from its row",
    ),
    "another study's row under a run's id": Forgery(
        of_another_study, load=True, verdict=REFUSED, says="is not the hash of its identity"
    ),
    "another study's rows next to the plan's rows; they do not count": Forgery(
        rows_of_another_study, verify=False, head=False
    ),
    "a second row of a run": Forgery(second_row, verdict=REFUSED, says=REPLACED),
    "a second row of a run, in a study without a ledger": Forgery(
        without_ledger(second_row), verdict=WITHHELD, says="its row is stored twice, with different content"
    ),
    "the row of a bad seed removed": Forgery(
        lambda study: row_file(study).unlink(), verdict=REFUSED, says="the ledger contains its row, but no file does"
    ),
    "a bad seed removed, also from the plan": Forgery(
        lambda study: (both_rows_of_the_seed_removed(study), plan(without_seed, copies=True)(study)),
        verdict=EXPLORATORY,
        says="the seeds do not begin with the frozen seeds",
    ),
    "a bad seed removed, also from the plan; ledger too": Forgery(
        ledger_too(both_rows_of_the_seed_removed, plan(without_seed, copies=True)),
        verdict=EXPLORATORY,
        says="the seeds do not begin with the frozen seeds",
    ),
    "a bad seed removed, also from the plan and the frozen plan; ledger too": Forgery(
        ledger_too(
            both_rows_of_the_seed_removed,
            plan(without_seed, copies=True),
            frozen(lambda document: without_seed(document["content"])),
        ),
        verify=False,
    ),
    # times
    "a run that ended before it began; ledger too": Forgery(
        ledger_too(row(moved(finished_at=-1))), verdict=WITHHELD, says="minutes before it began"
    ),
    "a run dated in the future; ledger too": Forgery(
        ledger_too(row(moved(started_at=9, finished_at=9))),
        verdict=WITHHELD,
        says="is in the future according to this machine's clock",
    ),
    "a run that began before the plan was frozen; ledger too": Forgery(
        ledger_too(row(moved(started_at=-9, finished_at=-9))),
        verdict=EXPLORATORY,
        says="1 run began before the freeze",
    ),
    "a run shorter than the sum of its epochs; ledger too": Forgery(
        ledger_too(row(lambda each: each.update({"epochs.seconds": [900.0, 900.0]}))),
        verdict=WITHHELD,
        says="but its epochs took 1800 s",
    ),
    "epochs that took longer than the run; ledger too": Forgery(
        ledger_too(row(lambda each: each.update({"epochs.seconds": [9.0, 9.0]}))),
        verdict=WITHHELD,
        says="but its epochs took 18.0 s in total",
    ),
    "two simultaneous runs in a session that computes one run at a time; ledger too": Forgery(
        ledger_too(overlapping), verdict=WITHHELD, says="it overlaps in time with run"
    ),
    # the plan
    "treatment and baseline exchanged in all plans": Forgery(
        plan(exchange("arm", "aim", "baseline"), copies=True),
        verdict=REFUSED,
        says="differs from that of arm",
        head=True,
    ),
    "roles of treatment and baseline exchanged in all plans": Forgery(
        plan(exchange_roles, copies=True), verdict=EXPLORATORY, says="in the argument differs from the frozen role"
    ),
    "seeds of the treatment exchanged in all plans": Forgery(
        plan(exchange("seed", 0, 1), copies=True), verdict=REFUSED, says="its seed is"
    ),
    "an arm's configuration in all plans": Forgery(
        plan(fewer_epochs_of_the_treatment, copies=True),
        verdict=REFUSED,
        says="its training.epochs differs from that of arm",
    ),
    "the list of seeds in the plan": Forgery(plan(without_seed, copies=False), verdict=REFUSED, says=NOT_KNOWN),
    "the list of seeds in all plans": Forgery(
        plan(without_seed, copies=True), verdict=EXPLORATORY, says="the seeds do not begin with the frozen seeds"
    ),
    "the claim in all plans": Forgery(
        plan(lambda document: document.update(claim="stanford_dogs_aim"), copies=True),
        verdict=EXPLORATORY,
        says="claim is 'stanford_dogs_aim' but was frozen as None",
    ),
    "δ in the plan": Forgery(
        plan(lambda document: document.update(delta_pp=0.1), copies=False), verdict=REFUSED, says=NOT_KNOWN
    ),
    "δ in all plans": Forgery(
        plan(lambda document: document.update(delta_pp=0.1), copies=True),
        verdict=EXPLORATORY,
        says="delta_pp is 0.1 but was frozen as 1.0",
    ),
    "δ in all plans and the frozen plan": Forgery(
        lambda study: (
            plan(lambda document: document.update(delta_pp=0.1), copies=True)(study),
            frozen(lambda document: document["content"].update(delta_pp=0.1))(study),
        ),
        verdict=REFUSED,
        says=NOT_FROZEN,
    ),
    "looks in all plans": Forgery(
        plan(lambda document: document.update(looks=[5]), copies=True), verdict=EXPLORATORY, says="looks is [5]"
    ),
    "the plan of another study": Forgery(from_the_other("study.json"), verdict=REFUSED, says=NOT_KNOWN),
    "the plan frozen again after the fact": Forgery(frozen_again, verdict=REFUSED, says=NOT_FROZEN),
    "the plan frozen again after the fact; ledger too": Forgery(
        ledger_too(frozen_again), verdict=EXPLORATORY, says="10 runs began before the freeze"
    ),
    "the frozen plan of another study": Forgery(from_the_other("analysis_plan.json"), verdict=REFUSED, says=NOT_FROZEN),
    "the frozen plan removed": Forgery(removed("analysis_plan.json"), verdict=REFUSED, says=NOT_FROZEN),
    # the ledger
    "the ledger removed": Forgery(
        removed("ledger"), verdict=REFUSED, says="the sessions that computed these rows kept a ledger"
    ),
    "the ledger and its last row rewound": Forgery(rewound, verify=False),
    "the ledger of another study": Forgery(from_the_other("ledger"), verdict=REFUSED, says=NOT_FROZEN),
    "the ledger rewritten for unchanged rows": Forgery(ledger_too(), verify=False),
    # data
    "labels of the test images": Forgery(labels_exchanged, verdict=REFUSED, says="but its predictions give"),
    "test images exchanged": Forgery(images_exchanged, verdict=REFUSED, says="but its predictions give"),
    "the table of test images removed": Forgery(
        removed("images"), verdict=REFUSED, says="its test images are not stored", verify=False, head=False
    ),
    # accidents and other changes
    "a truncated file": Forgery(cut_off, load=True, verdict=REFUSED, says="not a readable Parquet file"),
    "sizes in the table of models": Forgery(
        lambda study: change_rows(study / "models.parquet", lambda each: each.update(parameters=1)),
        says="parameters or trainable_parameters of arm baseline differ from those of its runs",
    ),
}


def table() -> str:
    """Return the table for docs/reliability.md."""
    lines = [
        "| what was changed | `analysis.load` | verdict | `ablate verify` | with `--head` |",
        "|---|---|---|---|---|",
    ]
    for name, each in FORGERIES.items():
        cells = ("refuses" if each.load else "–", each.verdict or "–", _found(each.verify), _found(each.head))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _found(is_found: bool) -> str:
    return "finds it" if is_found else "–"


def page(text: str) -> str:
    """Return the page with the table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, f"{DOCUMENT}: the lines {BEGIN} and {END} are missing"
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(page(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
