from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimlib.records.escaping import (
    from_spreadsheet_cell,
    latex,
    markdown,
    on_one_line,
    printable,
    shortened,
    spreadsheet_cell,
    storable,
    visible,
)

anything = st.text(st.characters(codec=None))
hostile = st.text(st.sampled_from("=+-@\t\r\n'1.e,%a\x1b\u202e\ud800<&$\\"))


@given(anything | hostile)
def test_stored_text_is_valid_utf8_and_only_lone_surrogates_are_changed(text: str) -> None:
    stored = storable(text)
    stored.encode()
    assert len(stored) == len(text)
    assert all(a == b or "\ud800" <= a <= "\udfff" for a, b in zip(text, stored, strict=True))


@given(anything, st.integers(10, 50))
def test_long_text_keeps_its_beginning_and_its_end(text: str, limit: int) -> None:
    short = shortened(text * 20, limit)
    whole = text * 20
    if len(whole) <= limit:
        assert short == whole
    else:
        assert short.startswith(whole[: limit // 2])
        assert short.endswith(whole[-(limit // 4) :])
        assert len(short) <= limit + 50
        assert f"{len(whole) - limit:,} characters left out" in short


@given(anything | hostile)
def test_printed_text_cannot_control_the_terminal(text: str) -> None:
    for shown in (printable(text), on_one_line(text)):
        assert not any(ord(sign) < 32 and sign not in "\n\t" for sign in shown)
        assert not any(0x7F <= ord(sign) < 0xA0 or 0x202A <= ord(sign) <= 0x202E for sign in shown)
        shown.encode()
    assert "\n" not in on_one_line(text)


@given(anything | hostile)
def test_pages_show_only_characters_that_xml_allows(text: str) -> None:
    allowed = "\t\n\r"
    assert all(sign in allowed or (ord(sign) >= 32 and not 0xD800 <= ord(sign) < 0xE000) for sign in visible(text))
    assert "<" not in markdown(text)


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "'=1"]
)
def test_a_formula_is_escaped_in_a_cell(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", [-1, -0.5, True, None, "-1", "+1.5e-3", "-.5", "-12 345"[:3], "-1,000", "-3%", "-inf", "aim"]
)
def test_numbers_and_names_are_not_escaped(value: object) -> None:
    assert spreadsheet_cell(value) is value


@given(hostile | anything)
def test_a_cell_is_read_back_unchanged(text: str) -> None:
    text = storable(text)
    out = io.StringIO()
    csv.writer(out).writerow([spreadsheet_cell(text), "end"])
    (row,) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert from_spreadsheet_cell(row[0]) == text


@given(hostile)
def test_special_characters_are_escaped_in_latex(text: str) -> None:
    shown = latex(text)
    assert "\\input" not in latex(r"\input{/etc/passwd}")
    bare = shown.replace(r"\textbackslash{}", "").replace("$<$", "").replace("$>$", "").replace(r"\&", "")
    assert not set(bare.replace(r"\$", "").replace(r"\%", "").replace(r"\textasciicircum{}", "")) & set("\\&$%")
