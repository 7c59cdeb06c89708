"""The normal form of source code: comments and spacing do not affect it; a change to any other token does."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import random
import sys
import tokenize
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimlib.own_code.lexing import DEDENT, INDENT, NEWLINE, UnreadableError, plain_newlines, tokens

ROOT = Path(__file__).parents[3]
SAMPLE = '''
class Ring(Base, kind="a"):
    """Text # no comment."""

    width: int = 0x_ff + 1_000.5e-3j  # spaces

    def forward(self, x, *, scale=.5):
        y = x[..., 1:-1] @ self.w if x is not None else f"{x!r:>{self.width}} {'#'} {{}} {x = }"
        return (
            y,
            rb'\\'', r"\\d",
        )
if True: pass
'''


def same_as_python(text: str) -> list[str]:
    """Return the tokens that Python itself finds, without the tokens that the normal form ignores."""
    kinds = {tokenize.NEWLINE: NEWLINE, tokenize.INDENT: INDENT, tokenize.DEDENT: DEDENT}
    left_out = (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER)
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    return [kinds.get(each.type, each.string) for each in found if each.type not in left_out]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from 3.12 on, tokenize splits f-strings")
def test_the_tokens_of_all_modules_match_python() -> None:
    files = [path for name in ("aimlib", "ablations", "analysis", "tests") for path in (ROOT / name).rglob("*.py")]
    chosen = random.Random(0).sample(sorted(files), 150)
    assert len(files) > 300
    for path in chosen:
        text = plain_newlines(path.read_text(encoding="utf-8"))
        assert tokens(text) == same_as_python(text), path


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from 3.12 on, tokenize splits f-strings")
@pytest.mark.parametrize(
    "text",
    [
        SAMPLE,
        "x = 1if y else.5\n",
        "a = 0xfor b\n",
        "a = 1..real, 1.e5, 0o7, 00, 1_0\n",
        "if x:\n  # c\n    # d\n  y\n\n# e\nz\n",
        "x = '''a\n# b\n''' 'c' \"d\"\n",
        "x = 'a\\\n b'\n",
        "x = \\\n  1\n",
        "\\\nx = 1\n",
        "def f():\n\f  x\n",
        "x = f'''{\n a + 1 }'''\n",
        "x = f'{a:{b}}' f'{a!r:^{w}.{p}}' rf'\\{a}'\n",
        "x = f'\\N{DIGIT ONE}{a}' f'{a!=b}' f'{ {1: 2}[1] }' f'{(lambda: 1)()}'\n",
        "x: int; y = ...; y if (a := 2) else a != b\n",
        "é = 'ü'; match = 1\n",
        "x = (  # a\n   1,\n\n   2)\n",
        "while x: pass",
    ],
)
def test_the_tokens_of_rare_syntax_match_python(text: str) -> None:
    ast.parse(text)
    assert tokens(text) == same_as_python(text)


def test_quotes_nested_in_an_f_string_do_not_end_it() -> None:
    text = """x = f"{a["b"]} {f"{c["d"]}#"}" + 1  # e\n"""  # valid in Python 3.12 or later
    assert tokens(text) == ["x", "=", """f"{a["b"]} {f"{c["d"]}#"}\"""", "+", "1", NEWLINE]
    assert tokens("x = f'{a + # comment }\n b}'\n")[2] == "f'{a + # comment }\n b}'"


def test_spacing_in_an_f_string_counts_because_it_can_be_printed() -> None:
    assert tokens("f'{x = }'\n") != tokens("f'{x=}'\n")


def digest(text: str) -> str:
    return hashlib.sha256(json.dumps(tokens(text)).encode()).hexdigest()


def test_the_normal_form_does_not_change_when_it_is_repeated() -> None:
    """Run ids contain these digests, so the digests must be the same in all Python versions and must never change."""
    assert digest(SAMPLE) == "021f843b27cd2fd0ab0fed19a881d46f3d6e13c260af96f58d76f627810685bb"
    assert (
        digest("def f(a, b = 1, *c):\n\tif a:\n\t\treturn b\n\treturn c ** 2\n")
        == "50adeb2768650a6243eb6182698dcf75979cd15d4f6a52ccfa2bea52d06d7456"
    )


def test_comments_blank_lines_and_the_width_of_indentation_do_not_count() -> None:
    other = '''# head
class Ring ( Base,kind = "a" ) :   # why
        """Text # no comment."""
        width:int=0x_ff+1_000.5e-3j

        # a comment
        def forward ( self,x, * ,scale = .5 ):

            y=x[...,1 : - 1]@self . w if x is not None else \\
                f"{x!r:>{self.width}} {'#'} {{}} {x = }"
            return ( y, rb'\\'', r"\\d", )
if   True : pass
'''
    assert tokens(other) == tokens(SAMPLE)
    assert tokens(SAMPLE.replace("\n", "\r\n").replace("\r\n", "\n")) == tokens(SAMPLE)
    assert tokens(plain_newlines("\ufeffx = 1\r\ny = 2\r")) == tokens("x = 1\ny = 2\n")


@given(st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_every_other_token_counts(seed: int) -> None:
    """If any token is replaced, removed or repeated, the normal form changes."""
    draw = random.Random(seed)
    normal = tokens(SAMPLE)
    place = draw.choice([number for number, each in enumerate(normal) if each not in (NEWLINE, INDENT, DEDENT)])
    changed = [*normal[:place], draw.choice([f"{normal[place]}x", "", f"{normal[place]} {normal[place]}"])]
    text = written([*changed, *normal[place + 1 :]], draw)
    with contextlib.suppress(UnreadableError):
        assert tokens(text) != normal


@given(st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_spacing_and_comments_do_not_change_the_normal_form(seed: int) -> None:
    normal = tokens(SAMPLE)
    assert tokens(written(normal, random.Random(seed))) == normal


def written(normal: list[str], draw: random.Random) -> str:
    """Return source code with these tokens, and with random spacing and comments."""
    text, depth, open_brackets, at_start = "", [""], 0, True
    for each in normal:
        if each == INDENT:
            depth.append(depth[-1] + draw.choice([" ", "   ", "\t"]))
        elif each == DEDENT:
            depth.pop()
        elif each == NEWLINE:
            text += draw.choice(["\n", "  # note 'x\n", "\n\n", "\n   # (\n"])
            at_start = True
        else:
            text += depth[-1] if at_start else draw.choice([" ", "  ", "\t", " \\\n "])
            if open_brackets > 0 and not at_start:
                text += draw.choice(["", "\n", "# [\n"])
            open_brackets += (each in "([{") - (each in ")]}") if len(each) == 1 else 0
            text, at_start = text + each, False
    return text


@pytest.mark.parametrize("text", ["x = 'a", "x = (1", "x = f'{a'", "x = '''a", "x = f'{a:b'"])
def test_source_code_with_an_unterminated_string_is_refused_as_unreadable(text: str) -> None:
    with pytest.raises(UnreadableError):
        tokens(text)
