"""In reports on many arms, decisive results stay visible, and the rest is ranked, shortened or folded."""

from __future__ import annotations

import gzip
import itertools
import json
import re

import chromium
import numpy as np
import pandas as pd
import pytest
from blank_figures import blank_figures
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from analysis.report import latex, rendering
from analysis.report.content import compose
from analysis.report.tables import Table, frames

LEVELS = [(str(size), where) for size in (8, 16, 32, 64, 128) for where in ("early", "late", "both")]
CHANCE = {(f"size={size}, where={where}", 1) for size in (16, 64) for where in ("early", "late")}


def arms():
    """Return a baseline, a treatment, its control, and 15 combinations: size 128 adds 4 pp, and `late` adds 1 pp."""
    made = [
        FakeArm("baseline", "baseline", 0.15),
        FakeArm("aim", "aim", 0.19),
        FakeArm("frozen", "frozen", 0.16, "aim"),
    ]
    for size, where in LEVELS:
        mean = 0.15 + 0.04 * (size == "128") + 0.01 * (where == "late")
        levels = {"size": size, "where": where}
        made.append(FakeArm(f"size={size}, where={where}", "aim", mean, "aim", levels=levels, config={"model": levels}))
    return made


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A study with 18 arms, its findings, its report without drawings, and the report as a document."""
    status = dict.fromkeys(CHANCE, "chance")
    study = FakeStudy(arms(), list(range(8)), status=status, epochs=3, images=1000, spread=0.002)
    directory = write_study(tmp_path_factory.mktemp("sweep") / "study", study, np.random.default_rng(0))
    findings, documents = analysis.examine(analysis.load(directory)), []

    def composed(given):
        documents.append(compose(given))
        return documents[0]

    with blank_figures(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "compose", composed)
        rendering.write(findings, directory / "report")
    return directory, findings, documents[0]


@pytest.fixture(scope="module")
def sweep(written):
    return written[0]


@pytest.fixture(scope="module")
def document(written):
    return written[2]


def read(directory, name="report.html"):
    return (directory / "report" / name).read_text(encoding="utf-8")


def test_the_first_screen_names_the_best_arm_and_the_strongest_effect(document):
    (_, best), (_, effect) = document.answers
    assert re.match(r"Of 18 arms, (aim|size=128, where=late) has the highest mean test accuracy", best)
    assert "The clearest effect is that of size: 128 instead of 8 changes" in effect


def test_arms_that_the_pairs_do_not_distinguish_from_the_best_arm_are_marked(document):
    table = document.tables["ranking"]
    best = {row[1]: row[-1] for row in table.rows}
    assert best["size=8, where=both"] == "no"
    assert list(best.values()).count("highest mean") == 1
    assert len(table.rows) == 18


def test_effects_come_before_the_details_and_planted_effects_are_found(document):
    names = [section.name for section in document.sections]
    assert names.index("comparisons") < names.index("factors") < names.index("ranking") < names.index("runs")
    frame = document.frames["effects"]
    main = frame[(frame["kind"] == "main") & (frame["level"] == "128")].iloc[0]
    assert main["effect"] == pytest.approx(4, abs=0.5)
    assert main["lower"] > 3


def test_a_notice_about_many_arms_is_one_sentence_with_all_names(document):
    limit = next(limit for limit in document.limits if "did not train" in limit.text)
    assert limit.text.startswith("1 of 8 runs in each of 4 arms did not train: ")
    assert all(arm in limit.text for arm, _ in CHANCE)


def test_deciding_results_are_not_folded_or_shortened(sweep, document):
    page = read(sweep)
    comparisons = next(section for section in document.sections if section.name == "comparisons")
    assert comparisons.folded == {"seeds"}
    names = [row[0] for row in document.tables["comparisons"].rows]
    assert names[:2] == ["aim \u2212 baseline", "aim \u2212 frozen"]
    verdict = page[page.index('id="verdict"') : page.index('id="comparisons"')]
    outside = re.sub(r"<details>.*?</details>", "", verdict, flags=re.DOTALL)
    assert document.headline.split(" (")[0] in outside
    assert all(text.split(":")[0] in outside for text in document.cautions)


def test_a_shortened_table_names_the_file_with_all_rows(sweep, document):
    table = document.tables["comparisons"]
    assert (
        table.omission
        == "12 of 17 comparisons are shown: those of the gates, and those with the largest and smallest differences."
    )
    assert len(pd.read_csv(sweep / "report" / document.file_of(table.whole))) == 17
    assert f'href="{document.file_of(table.whole)}"' in read(sweep)
    assert "12 of 17 comparisons" in read(sweep, "report.md")
    assert "12 of 17 comparisons" in read(sweep, "latex/comparisons.tex")


def test_every_table_and_figure_has_a_link_in_the_contents(sweep, document):
    page = read(sweep)
    for section in document.sections:
        for name in section.tables:
            assert page.count(f'id="table-{name}"') == page.count(f'href="#table-{name}"') == 1
        for name in section.figures:
            if document.figures[name].figure is not None:
                assert page.count(f'id="figure-{name}"') == page.count(f'href="#figure-{name}"') == 1


def test_every_section_of_the_markdown_report_is_in_its_contents(sweep):
    markdown = read(sweep, "report.md")
    (contents,) = [line for line in markdown.splitlines() if line.startswith("**Contents**: ")]
    linked = dict(re.findall(r"\[([^]]+)\]\(#([^)]+)\)", contents))
    assert list(linked) == re.findall(r"^## (.+)$", markdown, re.M)
    for title, place in linked.items():
        assert f'<a id="{place}"></a>\n\n## {title}\n' in markdown or place == title.lower()


def test_folded_tables_are_open_in_print_and_folded_in_markdown(sweep):
    assert "details::details-content" in read(sweep)
    markdown = read(sweep, "report.md")
    assert markdown.count("<details>") == markdown.count("</details>") > 3


def test_if_there_are_few_arms_they_are_not_ranked_and_nothing_is_folded(make_study):
    with blank_figures():
        document = compose(analysis.examine(analysis.load(make_study())))
    assert document.answers == ()
    assert not {"ranking", "effects"} & set(document.tables)
    assert not any(section.folded for section in document.sections)


def test_before_the_verdict_ranking_and_effects_use_validation_images(tmp_path):
    status = {("aim", 7): "missing"}
    study = FakeStudy(arms(), list(range(8)), status=status, epochs=3, images=400)
    directory = write_study(tmp_path / "study", study, np.random.default_rng(0))
    with blank_figures():
        document = compose(analysis.examine(analysis.load(directory)))
    assert set(document.frames["ranking"]["value"]) == {"validation_accuracy"}
    assert set(document.frames["effects"]["value"]) == {"validation_accuracy"}
    assert document.answers[-1][1].startswith("Both use the validation accuracy")
    for name in ("pareto", "parallel_coordinates", "curves_by_factor"):
        assert "test accuracy" not in document.figures[name].caption.lower(), name


def test_compressed_long_tables_are_always_the_same_bytes(written, tmp_path, monkeypatch):
    sweep, findings, _ = written
    monkeypatch.setattr(frames, "_ROWS", 100)
    with blank_figures():
        rendering.write(findings, tmp_path / "one")
    numbers = json.loads((tmp_path / "one" / "report.json").read_text(encoding="utf-8"))["tables"]
    assert isinstance(numbers["comparisons"], list)
    for name in ("runs", "pairs", "sensitivity"):
        table = numbers[name]
        path = tmp_path / "one" / table["file"]
        assert path.name == f"{name}.csv.gz"
        assert len(pd.read_csv(path)) == table["rows"] > 100
        again = gzip.compress(gzip.decompress(path.read_bytes()), mtime=0)
        assert path.read_bytes() == again, "the file does not contain the time of writing or a path"
    whole = pd.read_csv(sweep / "report" / "tables" / "pairs.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "one" / "tables" / "pairs.csv.gz"), whole)


def test_a_latex_row_that_begins_with_a_bracket_is_not_read_as_an_option_of_the_preceding_rule():
    shown = Table("Arms", ("Arm", "Runs"), (("[aim]", "1"), ("*", "2"), ("aim[x]", "3")))
    lines = latex.table(shown, "arms").splitlines()
    assert [line for line in lines if line.endswith(r"\\")][1:] == [r"{}[aim] & 1 \\", r"{}* & 2 \\", r"aim[x] & 3 \\"]


@pytest.mark.slow  # Chromium
def test_the_table_of_comparisons_is_not_cut_off_at_the_side(tmp_path):
    if chromium.program() is None:
        pytest.skip(f"no Chromium: none of {', '.join(chromium.NAMES)} is installed")
    name = "aim[placement={},channels={},learning_rate=0.001,update=none]"
    levels = itertools.product(("stage_only", "every_layer", "block_entry", "input_only"), range(1, 11))
    made = [FakeArm("baseline", "baseline", 0.15), FakeArm("aim", "aim", 0.18)]
    made += [FakeArm(name.format(*level), mean=0.15 + 0.001 * number) for number, level in enumerate(levels)]
    study = write_study(tmp_path / "study", FakeStudy(made, [0, 1, 2, 3, 4], images=1200), np.random.default_rng(40))
    with chromium.page() as page:
        page.size(1200, 1000)
        page.open(analysis.report(study).as_uri(), "document.readyState == 'complete'")
        table = "document.querySelector('#table-comparisons table, table#table-comparisons')"
        assert page.value(f"{table}.scrollWidth - {table}.parentElement.clientWidth") <= 0
