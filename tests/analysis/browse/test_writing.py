"""Writing the page: where it is written, the packages it requires, and the record of unblinding."""

from __future__ import annotations

import gzip
import importlib.metadata

import pytest
from browse_study import shown_in

import analysis
from aimlib.errors import StoreError, UsageError
from analysis.browse import libraries as libraries_module
from analysis.browse.libraries import as_classic_script
from analysis.browse.page import packed
from analysis.reading import unblinding


def test_the_page_is_a_single_file_in_the_study_directory_or_at_the_given_path(make_sweep, tmp_path, monkeypatch):
    first, second = make_sweep(seeds=2), make_sweep(seeds=2, first_seed=5)
    assert analysis.browse(first) == first / "browse.html"
    assert shown_in(first / "browse.html")["title"] == "synthetic"
    monkeypatch.chdir(tmp_path)
    assert str(analysis.browse([first, second])) == "browse.html"
    assert shown_in(tmp_path / "browse.html")["title"] == "2 studies"
    assert analysis.browse([str(first)], tmp_path / "x.html") == tmp_path / "x.html"
    text = (tmp_path / "x.html").read_text()
    assert text.count("<script") == 5
    assert "http://" not in text
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def test_the_same_results_give_the_same_bytes(make_sweep, tmp_path):
    directory = make_sweep(seeds=2)
    pages = [analysis.browse(directory, tmp_path / f"{i}.html").read_bytes() for i in range(2)]
    assert pages[0] == pages[1]


def test_unblinding_is_recorded_before_the_page_is_written_and_only_if_test_measures_are_shown(make_sweep, tmp_path):
    running, due = make_sweep(seeds=6, status={("aim", 5): "missing"}), make_sweep(seeds=6)
    analysis.browse([running, due], tmp_path / "x.html")
    assert unblinding.read(running) == ()
    analysis.browse([running, due], tmp_path / "x.html", unblind=True)
    (record,) = unblinding.read(running)
    assert (record.by, record.settled, record.planned) == ("ablate browse --unblind", 29, 30)
    assert unblinding.read(due) == ()
    page = shown_in(tmp_path / "x.html")
    assert "Test measures are shown before the verdict. The study records this." in page["notes"]
    assert page["studies"][0]["unblinded"] == [str(record)]


def test_test_measures_are_not_shown_if_unblinding_cannot_be_recorded(make_sweep, tmp_path):
    directory = make_sweep(seeds=6, status={("aim", 5): "missing"})
    (directory / "unblinded").write_text("a file in place of the folder")
    with pytest.raises(StoreError, match="only if the study records it"):
        analysis.browse(directory, tmp_path / "x.html", unblind=True)
    assert not (tmp_path / "x.html").exists()


def test_the_error_lists_a_missing_package_or_a_package_without_the_script(monkeypatch, make_sweep):
    directory = make_sweep(seeds=2)
    libraries_module.libraries.cache_clear()
    monkeypatch.setattr(libraries_module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package plotly, which is not installed; pip install 'aim-abl"):
        analysis.browse(directory)
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"embeds nothing\.js from plotly, which version .* lacks"):
        libraries_module._file("plotly", "nothing.js")
    libraries_module.libraries.cache_clear()
    assert libraries_module.libraries().versions["plotly"] == importlib.metadata.version("plotly")


def test_a_module_is_converted_to_a_script_that_assigns_its_exports():
    script = as_classic_script("const a=1,b=2;\nexport{a as default,b};\n/*! license */", "X")
    assert "window.X = {default: a, b: b};" in script
    assert "export" not in script
    assert "/*! license */" in script
    with pytest.raises(UsageError, match="does not export anything"):
        as_classic_script("const a = 1;", "X")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"serve": True, "out": "x.html"}, "--serve does not write a file"),
        ({"port": 8000}, "--port is only used with --serve"),
    ],
)
def test_options_that_contradict_each_other_are_refused(make_sweep, options, message):
    with pytest.raises(UsageError, match=message):
        analysis.browse(make_sweep(seeds=2), **options)


def test_a_directory_without_a_study_and_a_file_that_cannot_be_written_are_reported(make_sweep, tmp_path):
    with pytest.raises(StoreError, match=r"study\.json is missing"):
        analysis.browse([make_sweep(seeds=2), tmp_path / "none"])
    with pytest.raises(StoreError, match="the page cannot be written"):
        analysis.browse(make_sweep(seeds=2), tmp_path / "no" / "x.html")
    with pytest.raises(UsageError, match="at least one"):
        analysis.browse([])


def test_the_page_is_written_even_if_text_is_not_valid_unicode():
    assert gzip.decompress(packed({"title": "a\ud800b", "value": float("nan")})) == b'{"title":"a?b","value":null}'
