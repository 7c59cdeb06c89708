"""LaTeX tables for papers: with booktabs, from the same tables as the page."""

from __future__ import annotations

from aimlib.records.escaping import latex as escape
from analysis.report.tables import Table


def table(shown: Table, name: str) -> str:
    """Return a LaTeX table with a caption and the label ``tab:<name>``; it needs the packages booktabs and graphicx."""
    columns = "".join("r" if column in shown.numbers else "l" for column in shown.columns)
    caption = " ".join([f"{escape(shown.title)}.", *(escape(text) for text in (shown.omission, shown.note) if text)])
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
    """Return a row; protect a leading bracket or star, which LaTeX would take as an option of the preceding command."""
    text = " & ".join(map(escape, cells)) + r" \\"
    return "{}" + text if text.lstrip().startswith(("[", "*")) else text
