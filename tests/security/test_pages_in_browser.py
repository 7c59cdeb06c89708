"""A real browser shows markup and code in names and messages as text, without executing or fetching anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import chromium
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blank_figures import blank_figures
from test_planted_names import renamed
from victims import Victim

from aimlib.records import write_table

PROBE = "window.executed = true; fetch('http://127.0.0.1:9/x'); alert(1)"
PAYLOADS = (
    f'<img src=x onerror="{PROBE}">',
    f"</script><script>{PROBE}</script>",
    f'</style></title></textarea></pre><svg onload="{PROBE}">',
    f'" autofocus onfocus="{PROBE}" x="',
    f"' onmouseover='{PROBE}' x='",
    f']]>--><iframe srcdoc="<script>parent.{PROBE}</script>">',
    f'[x](javascript:{PROBE}) <a href="javascript:{PROBE}">x</a>',
    "{{constructor.constructor('window.executed = true')()}} ${window.executed = true} `${window.executed = true}`",
    '<link rel=stylesheet href="http://127.0.0.1:9/x"><meta http-equiv=refresh content="0;url=http://127.0.0.1:9/x">',
    "=cmd|' /C calc'!A0",
)
NAME = '</script><img src=x onerror="window.executed=true"><svg onload="window.executed=true">'

pytestmark = pytest.mark.skipif(chromium.program() is None, reason="no Chromium is installed")


@pytest.fixture(autouse=True, params=["blank", pytest.param("drawn", marks=pytest.mark.slow)])
def without_drawing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write reports with blank figures; in the slow tests, write all figures, because they also contain names."""
    with blank_figures() if request.param == "blank" else nullcontext():
        yield


def spoil(path: Path) -> None:
    """Insert the payloads into every text in a row, except identities."""
    table = pq.ParquetFile(path).read()
    text = " ".join(PAYLOADS)
    for column in ("reason", "traceback", "host", "device_name", "placement", "memory_source", "optimizer"):
        if column in table.schema.names:
            number = table.schema.get_field_index(column)
            table = table.set_column(number, table.schema.field(number), pa.array([text] * table.num_rows))
    write_table(table, path)


def test_no_page_executes_or_fetches_anything(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed(victim, "aim", NAME)
    for path in victim.runs:
        spoil(path)
    # The rows now contradict the ledger, so a verdict would be refused. These tests need the pages nevertheless.
    monkeypatch.setattr("analysis.findings.study.prove", lambda *_: ())
    victim.ablate("report", victim.directory)
    victim.ablate("watch", victim.directory, "--once", "--html")
    victim.ablate("browse", victim.directory, "--out", victim.folder / "browse.html")
    pages = sorted({*victim.directory.rglob("*.html"), victim.folder / "browse.html"})
    assert len(pages) >= 3
    with chromium.page() as page:
        for path in pages:
            page.open(path.as_uri())
            assert page.value("typeof window.executed") == "undefined", path
            assert page.value("[...document.querySelectorAll('[onerror],[onload],[onfocus],iframe')].length") == 0
            assert page.value("[...document.querySelectorAll('a')].every(a => a.protocol !== 'javascript:')"), path
            assert all(url.startswith(("file://", "data:", "blob:", "about:")) for url in page.requests), page.requests
            assert page.value("document.body.textContent.includes('onerror=')"), (
                f"{path}: the payload must be shown as text"
            )


def test_an_executed_probe_is_detected(tmp_path: Path) -> None:
    for number, payload in enumerate(PAYLOADS[:3]):
        path = tmp_path / f"{number}.html"
        path.write_text(f"<title>x</title><script>window.x = 1;</script><p>{payload.replace('; alert(1)', '')}")
        with chromium.page() as page:
            page.open(path.as_uri())
            page.wait("window.executed === true")
            assert page.requests
