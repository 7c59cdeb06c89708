"""In a browser, the page filters, sorts and opens runs with mouse and keyboard; it never executes study content."""

from __future__ import annotations

import csv
import json
import re
import threading

import numpy as np
import pytest
from browse_study import arms
from synthetic_study import FakeArm, FakeStudy, write_study

import analysis
from analysis.browse.server import Feed, Server

SLOW = (
    pytest.mark.slow
)  # Chromium needs a minute of CPU time for all of these tests; `make test` only filters, sorts and opens a run
BUTTONS = "[...document.querySelectorAll('.dt-button-collection button')]"
ROWS = "[...document.querySelectorAll('#{}-table tbody tr')].map((row) => row.cells[0].textContent)"


def text(page, selector):
    return page.value(f"document.querySelector({json.dumps(selector)}).textContent")


def write_filter(page, condition):
    page.value("document.getElementById('where').value = ''")
    page.click("#where")
    page.press(condition, "Enter")


def redrawn(page, chart, change):
    """Wait until a chart is redrawn after a change, scroll to it, and return its note."""
    place = f"document.getElementById('{chart}')"
    page.value(f"{place}.scrollIntoView()")
    page.wait(f"{place}.dataset.drawn && !{place}.ariaBusy")
    before = page.value(f"{place}.dataset.drawn")
    change()
    page.value(f"{place}.scrollIntoView({{block: 'center'}})")
    page.wait(f"{place}.dataset.drawn !== '{before}' && !{place}.ariaBusy")
    return text(page, f"#{chart}-note")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = FakeStudy(
        arms(),
        [0, 1, 2],
        {("aim", 1): "failed", ("baseline", 2): "diverged", ("aim", 2): "missing"},
        claim=None,
        images=397,
        name="a <b>sweep</b>",
        failure="boom in /home/alice/x.py",
    )
    return write_study(tmp_path_factory.mktemp("browse") / "study", made, np.random.default_rng(1))


@pytest.fixture(scope="module")
def address(study, tmp_path_factory):
    return analysis.browse(study, tmp_path_factory.mktemp("page") / "x.html").as_uri()


@pytest.fixture(scope="module")
def opened(browser, address):
    browser.open(address, "window.ready")
    return browser


@pytest.fixture
def page(opened, address):
    """Return the page without a filter; a message on the console or a request to a different server fails the test."""
    if not opened.value(f"location.href.startsWith({json.dumps(address)})"):
        opened.open(address, "window.ready")
    if opened.value("document.getElementById('details').open"):
        opened.click("#close")
    opened.value("window.Tables.jQuery('#arms-table, #runs-table').DataTable().order([]).draw() && null")
    opened.click("#clear")
    opened.click("#arms-tab")
    yield opened
    assert opened.problems == []
    assert {url.partition("#")[0] for url in opened.requests if not re.match("data:|blob:", url)} == {address}


def test_arms_are_listed_with_means_over_the_filtered_runs(page, study):
    assert page.value(ROWS.format("arms")) == [arm.name for arm in arms()]
    assert text(page, "#count") == "15 of 15 runs, 5 arms"
    write_filter(page, "placement == every_layer and seed >= 1")
    assert text(page, "#count") == "4 of 15 runs, 2 arms"
    names = page.value("[...document.querySelectorAll('#arms-table thead th')].map((head) => head.innerText)")
    at = names.index("mean validation_accuracy")
    runs = analysis.load(study).where("placement == every_layer and seed >= 1")
    expected = [f"{mean:.4f}" for mean in runs.groupby("arm", sort=False)["validation_accuracy"].mean()]
    cells = "[...document.querySelectorAll('#arms-table tbody tr')].map((row) => row.cells[{}].textContent)"
    assert page.value(cells.format(at)) == expected
    page.click("#clear")
    assert text(page, "#count") == "15 of 15 runs, 5 arms"


@SLOW
def test_the_filter_is_stored_in_the_address(page, address):
    write_filter(page, "seed == 1")
    assert page.value("location.hash") == "#where=seed%20%3D%3D%201"
    page.open(f"{address}#where=seed%20%3D%3D%202", "window.ready")
    assert text(page, "#count") == "5 of 15 runs, 5 arms"


def test_a_column_header_sorts_with_mouse_and_keyboard(page):
    page.click("#runs-tab")
    heads = "[...document.querySelectorAll('#runs-table thead th')]"
    head = f"{heads}.find((head) => head.innerText === 'validation_accuracy')"
    page.value(f"{head}.id = 'accuracy'")
    values = (
        "[...document.querySelectorAll('#runs-table tbody tr')].map((row) => Number(row.cells"
        f"[{head}.cellIndex].textContent)).filter((value) => value === value)"
    )
    page.click("#accuracy")
    page.wait("document.getElementById('accuracy').ariaSort === 'ascending'")
    ascending = page.value(values)
    assert ascending == sorted(ascending)
    assert len(ascending) == 13
    page.value("(document.querySelector('#accuracy [tabindex]') ?? document.getElementById('accuracy')).focus()")
    page.press("Enter")
    page.wait("document.getElementById('accuracy').ariaSort === 'descending'")
    assert page.value(values) == ascending[::-1]


def test_columns_can_be_selected(page):
    page.click("#runs-tab")
    heads = "[...document.querySelectorAll('#runs-table thead th')].map((head) => head.innerText)"
    assert "multiply_adds" not in page.value(heads)
    page.click("#runs-panel .dt-buttons button")
    page.value(f"{BUTTONS}.find((b) => b.innerText.startsWith('Cost')).click()")
    page.wait(f"{BUTTONS}.some((b) => b.innerText === 'multiply_adds')")
    page.value(f"{BUTTONS}.find((b) => b.innerText === 'multiply_adds').click()")
    assert "multiply_adds" in page.value(heads)
    page.press("Escape")
    page.wait("!document.querySelector('.dt-button-collection')")


def test_a_run_can_be_opened_and_closed_with_the_keyboard(page):
    page.click("#runs-tab")
    page.value("document.querySelector('#runs-table tbody button.open').focus()")
    page.press("ArrowDown", "ArrowDown", "ArrowDown", "Enter")
    page.wait("document.getElementById('details').open")
    assert text(page, "#details-title") == "aim, seed 0"
    shown = text(page, "#details-body")
    for word in (
        "This run finished.",
        "model.placement",
        "stage_only",
        "adamw",
        "git_commit",
        "torch",
        "Differences from baseline",
    ):
        assert word in shown
    page.wait("document.querySelector('#run-accuracy .trace')")
    page.press("Escape")
    page.wait("!document.getElementById('details').open")
    assert page.value("document.activeElement.dataset.opens") == page.value(
        "document.querySelectorAll('#runs-table tbody button.open')[3].dataset.opens"
    )
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@SLOW
def test_a_failed_run_shows_its_reason_and_a_waiting_run_its_state(page):
    write_filter(page, "arm == aim")
    page.click("#runs-tab")
    page.click("#runs-table tbody tr:nth-child(2) td:nth-child(2)")
    assert "This run failed; the same `ablate run` command retries it: boom in x.py" in text(page, "#details-body")
    assert "RuntimeError: boom" in text(page, "#details-body pre")
    page.click("#close")
    page.click("#runs-table tbody tr:nth-child(3) button.open")
    assert "This run has not started." in text(page, "#details-body")
    assert "No epochs are stored yet." in text(page, "#details-body")


@SLOW
def test_an_arm_can_be_opened_to_show_its_runs_and_can_be_used_as_a_filter(page):
    page.click("#arms-table tbody tr:nth-child(2) button.open")
    assert text(page, "#details-title") == "aim"
    assert page.value("document.querySelectorAll('#details-body .runs li').length") == 3
    page.click("#details-body .runs li button")
    assert text(page, "#details-title") == "aim, seed 0"
    page.press("Escape")
    page.click("#arms-table tbody tr:nth-child(3) button.open")
    page.click("#only-arm")
    assert text(page, "#count") == "3 of 15 runs, 1 arm"


@SLOW
def test_charts_show_the_filtered_runs_and_state_what_they_show(page):
    assert (
        redrawn(page, "curves", lambda: write_filter(page, "seed == 1"))
        == "4 runs, one line each. 1 run without this measure."
    )
    page.value("document.getElementById('lines').value = 'placement'")
    note = redrawn(
        page, "curves", lambda: page.value("document.getElementById('lines').dispatchEvent(new Event('change'))")
    )
    assert note.startswith("Mean of 4 runs by level of placement; bands are ± 1 standard deviation")
    assert redrawn(page, "scatter", lambda: write_filter(page, "seed == 0")).startswith("5 runs.")
    assert redrawn(page, "parallel", lambda: write_filter(page, "arm == aim")).startswith(
        "1 run. 2 without a value for a"
    )
    assert redrawn(page, "parallel", lambda: write_filter(page, "seed > 99")) == "No run meets the filter."


@SLOW
def test_selecting_a_range_on_an_axis_adds_a_condition(page):
    redrawn(page, "parallel", lambda: write_filter(page, ""))
    area = page.value(
        "(() => {const chart = document.getElementById('parallel'), box = chart.getBoundingClientRect();"
        "const {xaxis, yaxis} = chart._fullLayout;"
        "const at = [...chart.layout.xaxis.ticktext].findIndex((text) => text.includes('channels'));"
        "return [box.x + xaxis._offset + xaxis.d2p(at), box.y + yaxis._offset + yaxis.d2p(1)]})()"
    )
    page.drag((area[0] - 20, area[1] - 10), (area[0] + 20, area[1] + 10))
    page.wait("document.getElementById('where').value")
    assert page.value("document.getElementById('where').value") == "channels >= 8 and channels <= 8"
    assert text(page, "#count") == "6 of 15 runs, 2 arms"


@SLOW
def test_clicking_a_point_in_the_scatter_plot_opens_its_run(page):
    redrawn(page, "scatter", lambda: write_filter(page, "arm == baseline and seed == 1"))
    spot = page.value(
        "(() => {const box = document.querySelector('#scatter .points path').getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]})()"
    )
    page.point(*spot)
    page.wait("document.getElementById('details').open")
    assert text(page, "#details-title") == "baseline, seed 1"


@SLOW
def test_every_control_can_be_reached_with_the_tab_key_in_the_order_of_the_page(page):
    assert page.value("document.querySelector('a, button, input').className") == "skip"
    page.value("document.querySelector('.skip').focus()")
    reached = []
    for _ in range(60):
        page.press("Tab")
        reached.append(
            page.value(
                "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
            )
        )
    wanted = ["where", "clear", "arms-tab", "open", "colour", "measure", "lines", "x", "y"]
    places = [reached.index(each) for each in wanted]
    assert places == sorted(places)


@SLOW
def test_the_content_of_a_study_is_shown_as_text_and_never_executed(browser, tmp_path):
    planted = [
        "</script><script>window.ran = 1</script>",
        "<img src=x onerror='window.ran = 2'>",
        '"><svg onload=window.ran=3>',
        "<a href='javascript:window.ran=4'>x</a>",
        "${window.ran=5}{{window.ran=6}}",
    ]
    made = [FakeArm(name, "other", config={"model": {"x": name}}, levels={"f": name}) for name in planted]
    reason = f"\u2028{planted[0]}\u2029{planted[1]}\u202e"
    names = {(name, 1): "failed" for name in planted}
    study = FakeStudy(made, [0, 1], names, claim=None, images=40, name=planted[0], failure=reason)
    directory = write_study(tmp_path / "study", study, np.random.default_rng(0))
    page = analysis.browse(directory)
    browser.open(page.as_uri(), "window.ready")
    for selector in ("#arms-table", "#runs-table"):
        browser.click(f"#{selector[1:5]}-tab")
        for row in range(1, 6):
            browser.click(f"{selector} tbody tr:nth-child({2 * row if selector == '#runs-table' else row}) button.open")
            assert any(name in text(browser, "#details-title") for name in planted)
            browser.press("Escape")
    for chart in ("curves", "scatter", "parallel"):
        redrawn(browser, chart, lambda: write_filter(browser, "seed == 0"))
        assert browser.value(f"document.querySelectorAll('#{chart} a, #{chart} img').length") == 0
        browser.click("#clear")
    assert browser.value("window.ran ?? null") is None
    assert text(browser, "h1") == planted[0]
    assert browser.value("document.title") == planted[0]
    assert browser.value("document.querySelectorAll('[onerror], [onload], main a[href]').length") == 0
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []


@SLOW
def test_a_saved_table_does_not_contain_formulas(browser, tmp_path):
    names = ["=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "-aim", "<b>aim</b>", "-1"]
    study = FakeStudy([FakeArm(name, "other") for name in names], [0], claim=None, images=40)
    page = analysis.browse(write_study(tmp_path / "study", study, np.random.default_rng(0)))
    browser.open(page.as_uri(), "window.ready")
    browser.value("window.saved = []; URL.createObjectURL = (blob) => { window.saved.push(blob); return '#' }; null")
    browser.value("document.querySelector('.buttons-csv').click()")
    browser.wait("window.saved.length > 0")
    text_of_file = browser.value("window.saved[0].text()")
    rows = [row for row in csv.reader(text_of_file.splitlines()) if row]
    assert [row[0] for row in rows[1:]] == ["'=cmd|' /C calc'!A0", "'+1+1", "'@SUM(A1)", "'-aim", "<b>aim</b>", "-1"]
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=@\t\r") and cell]


@SLOW
def test_the_security_policy_of_the_page_allows_only_its_own_scripts(page):
    page.value("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))")
    assert page.value("window.ran ?? null") is None
    assert page.value("(() => {try {return eval('1')} catch (error) {return error.name}})()") in ("EvalError", 1)
    assert page.value("fetch('http://127.0.0.1:9/x').then(() => 'sent', () => 'refused')") == "refused"
    assert any("Content Security Policy" in problem for problem in page.problems)
    page.problems.clear()
    page.requests[:] = page.requests[:1]


def test_before_the_verdict_test_measures_cannot_be_selected(page):
    assert page.value("JSON.stringify(window.shown).includes('test_accuracy')") is False
    assert page.value("document.body.innerText.includes('test_loss')") is False
    assert "Test measures are not on this page" in text(page, "#notes")
    write_filter(page, "test_accuracy > 0")
    assert text(page, "#problem").startswith("unknown column 'test_accuracy'")


@SLOW
def test_a_served_page_shows_changes_to_the_study_and_keeps_filter_order_and_open_tab(browser, tmp_path):
    from analysis.browse.content import content
    from analysis.results import Studies

    status = {("aim", 1): "missing"}
    study = FakeStudy(arms(), [0, 1], dict(status), claim=None, images=40)
    directory = write_study(tmp_path / "study", study, np.random.default_rng(0))
    with Server(Feed(lambda: content(Studies.of([analysis.load(directory)])), 0.0), interval=0.2) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            browser.open(server.address, "window.ready")
            write_filter(browser, "arm == aim")
            browser.click("#runs-tab")
            statuses = "[...document.querySelectorAll('#runs-table tbody tr')].map((row) => row.cells[2].textContent)"
            assert browser.value(statuses) == ["finished", "waiting"]
            study.status.clear()
            write_study(tmp_path / "study", study, np.random.default_rng(0))
            browser.wait(f"{statuses}[1] === 'finished'")
            assert browser.value("document.getElementById('where').value") == "arm == aim"
            assert browser.value("document.getElementById('runs-tab').ariaSelected") == "true"
            assert browser.problems == []
        finally:
            server.shutdown()
            thread.join()
    browser.wait("document.getElementById('live').textContent.startsWith('no response')")
