"""Tables for papers: LaTeX with booktabs, from the same tables as the page."""

from __future__ import annotations

from analysis.report.tables import Table

NAMES = ("comparisons", "gates", "arms", "checks", "attribution", "audit", "models", "outcomes")
"""The tables that are written as LaTeX."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "−": r"$-$",
    "–": r"--",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "δ": r"$\delta$",
    "α": r"$\alpha$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "’": "'",
    "\u202f": r"\,",
    "\u00a0": "~",
}


def escape(text: str) -> str:
    """Return text escaped for LaTeX, with control characters replaced by spaces."""
    return "".join(_SPECIAL.get(c, c if c.isprintable() else " ") for c in text)


def table(shown: Table, name: str) -> str:
    """Return the LaTeX of a table with caption and label ``tab:<name>``; needs the packages booktabs and graphicx."""
    columns = "".join("r" if column in shown.numbers else "l" for column in shown.columns)
    caption = f"{escape(shown.title)}." + (f" {escape(shown.note)}" if shown.note else "")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row(shown.columns),
        r"\midrule",
        *map(_row, shown.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
