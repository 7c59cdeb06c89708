"""Tables for papers: LaTeX with booktabs, from the same sheets as the page."""

from __future__ import annotations

from analysis.report.tables.table import Sheet

NAMES = ("comparisons", "gates", "arms", "checks", "attribution", "audit", "models", "outcomes")
"""Sheets that are written as LaTeX."""

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
    """Return text that LaTeX sets as it is; control characters become spaces."""
    return "".join(_SPECIAL.get(c, c if c.isprintable() else " ") for c in text)


def table(sheet: Sheet, name: str) -> str:
    """Return a sheet as a table with caption and label ``tab:<name>``; needs the packages booktabs and graphicx."""
    columns = "".join("r" if column in sheet.numbers else "l" for column in sheet.columns)
    caption = f"{escape(sheet.title)}." + (f" {escape(sheet.note)}" if sheet.note else "")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row(sheet.columns),
        r"\midrule",
        *map(_row, sheet.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
