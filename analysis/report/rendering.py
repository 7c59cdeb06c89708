"""A report as files: the HTML page, its Markdown version, figures, tables, and every number as JSON."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aimlib.errors import StoreError
from aimlib.paths import make_folder, share
from aimlib.records.escaping import markdown, visible
from analysis.figures import arranged, inline, png, svg
from analysis.findings.study import Findings
from analysis.plan import Plan
from analysis.reading.spreadsheets import for_spreadsheets
from analysis.report import checklist, latex
from analysis.report.content import Document, compose
from analysis.report.tables.columns import explained
from analysis.report.tables.frames import csv_name, is_long
from analysis.statistics.verdict import rules_of


def write(findings: Findings, out: Path) -> Path:
    """Write the report into `out` and return the path of its HTML page; StoreError if that fails."""
    document = compose(findings)
    try:
        _refuse_links(out)
        for folder in ("figures", "tables", "latex"):
            _emptied(out / folder)
        figures = {name: arranged(drawn.figure) for name, drawn in document.figures.items() if drawn.figure is not None}
        drawings = {name: svg(figure, name) for name, figure in figures.items()}
        for name, figure in figures.items():
            _write(out / "figures" / f"{name}.svg", drawings[name])
            (out / "figures" / f"{name}.png").write_bytes(png(figure))
            share(out / "figures" / f"{name}.png")
        for name, frame in {**document.frames, "columns": explained(document.frames, findings.measure)}.items():
            _write_csv(out / "tables" / csv_name(name, frame), frame)
        for name, drawn in document.figures.items():
            _write_csv(out / "figures" / csv_name(name, drawn.summary), drawn.summary)
        for name, shown in document.tables.items():
            _write(out / "latex" / f"{name}.tex", latex.table(shown, name))
        _write(out / "report.json", _numbers(findings, document))
        _write(out / "checklist.md", checklist.page(findings))
        _write(out / "report.md", _markdown().get_template("report.md.j2").render(document=document))
        inlined = {name: Markup(inline(text, name)) for name, text in drawings.items()}  # noqa: S704 -- drawn here
        page = out / "report.html"
        rules, against = _rules(findings)
        page_of = _html().get_template("report.html.j2")
        _write(page, page_of.render(document=document, svg=inlined, rules=rules, against_reported=against))
    except OSError as error:
        raise StoreError(f"{out}: the report cannot be written ({error}); give another directory as out") from None
    return page


def _of_measure(plan: Plan) -> dict[str, Any]:
    """Return the measure and the smallest effect of interest if the study is not about accuracy."""
    return {"measure": plan.measure.name, "better": plan.measure.better, "delta": plan.delta_pp}


def _rules(findings: Findings) -> tuple[Sequence[tuple[str, str, str]], bool]:
    """Return the rows of the verdict table, and whether they involve a reported gain."""
    against = findings.otherwise is None
    return rules_of(findings.results.plan.procedure, against_reported=against), against


def _refuse_links(out: Path) -> None:
    """Refuse links in a report's folder: whoever created a link could choose which file is overwritten."""
    pages = ("report.json", "report.md", "report.html", "checklist.md")
    places = [out / name for name in ("figures", "tables", "latex", *pages)]
    files = [path for folder in places[:3] if folder.is_dir() for path in folder.iterdir()]
    for path in (*places, *files):
        if path.is_symlink():
            raise StoreError(f"{path}: is a link, so the report would be written to its target; remove the link")


def _emptied(folder: Path) -> None:
    """Create a folder and remove the files of an earlier report."""
    make_folder(folder)
    for path in folder.iterdir():
        if path.suffix in (".svg", ".png", ".csv", ".gz", ".tex"):
            path.unlink()


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    text = for_spreadsheets(frame).to_csv(index=False, lineterminator="\n")
    if path.suffix == ".gz":
        path.unlink(missing_ok=True)
        # Without a time stamp, the same results produce byte-identical files.
        path.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
        share(path)
    else:
        _write(path, text)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # the file may belong to another user who can write to this folder
    path.write_text(text, encoding="utf-8", newline="\n")
    share(path)


def _html() -> Environment:
    environment = Environment(
        loader=PackageLoader("analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment


def _markdown() -> Environment:
    """Return an environment that escapes every expression for Markdown; `autoescape` knows only HTML."""
    return Environment(  # noqa: S701 -- finalize escapes instead
        loader=PackageLoader("analysis.report"),
        finalize=markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _numbers(findings: Findings, document: Document) -> str:
    plan = findings.results.plan
    content = {
        "study": plan.name,
        "claim": plan.claim,
        "in_scope": None if findings.claim is None else not findings.reasons,
        "out_of_scope_because": list(findings.reasons),
        "headline": document.headline,
        "remarks": document.remarks,
        "answers": [text for _, text in document.answers],
        "cautions": document.cautions,
        "alpha": findings.alpha,
        **_looks(plan),
        "frozen": None if findings.results.frozen is None else findings.results.frozen.sha256,
        "ledger_head": findings.results.ledger_head[0] or None,
        "exploratory_because": [deviation.text for deviation in findings.deviations],
        "methods": list(document.methods),
        "references": list(document.references),
        **({"delta_pp": plan.delta_pp} if plan.measure.is_accuracy else _of_measure(plan)),
        "reported_pp": findings.reported,
        "provenance": {term: list(values) for term, values in document.provenance},
        "tables": {name: _content(frame, f"tables/{csv_name(name, frame)}") for name, frame in document.frames.items()},
        "figures": {
            name: {
                "title": drawn.title,
                "caption": drawn.caption,
                "data": _content(drawn.summary, f"figures/{csv_name(name, drawn.summary)}"),
            }
            for name, drawn in document.figures.items()
        },
    }
    # One line per entry: with an indent, the pure Python encoder takes seconds for the curves of a thousand runs.
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}" for key, value in content.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _looks(plan: Plan) -> dict[str, Any]:
    """Return the looks with their levels; with looks after any number of pairs, only up to the planned pairs."""
    looks = plan.looks
    if not looks.anytime:
        spending = {} if looks.planned else {"spending": looks.spending}
        return {"looks": list(looks.numbers), "levels": list(looks.levels), **spending}
    numbers = looks.reached(len(plan.seeds))
    return {"looks": looks.stored, "levels": dict(zip(map(str, numbers), looks.levels, strict=False))}


def _content(frame: pd.DataFrame, path: str) -> list[dict[str, Any]] | dict[str, Any]:
    """Return the rows of a table, or the file that contains them if there are many."""
    return {"file": path, "rows": len(frame)} if is_long(frame) else _records(frame)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    names = list(map(str, frame.columns))
    columns = [[_plain(value) for value in frame[name].tolist()] for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    """Return a cell as a JSON value; missing and non-finite values become null."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value
