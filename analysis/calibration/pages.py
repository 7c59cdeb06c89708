"""The page that `make calibrate` writes."""

from __future__ import annotations

import numpy as np

from analysis.calibration.rates import Table


def page(tables: list[Table], repetitions: int) -> str:
    """Return the tables as Markdown."""
    lines = [
        "# Calibration",
        "",
        f"Simulated with {repetitions:,} studies per rate (twice that for verdicts, a fiftieth for photos) by `make "
        f"calibrate`, with numpy {np.__version__} and a fixed generator. The tests run a reduced version and fail if a "
        "rate is outside its band by more than four Monte Carlo standard errors.",
        "",
    ]
    for table in tables:
        lines += [f"## {table.title}", "", table.note, "", _line(table.columns), _line(["---"] * len(table.columns))]
        lines += [*map(_line, table.rows), ""]
    lines += ["## Rates and their bands", "", _line(("rate", "value", "± Monte Carlo", "band", "holds"))]
    lines.append(_line(["---"] * 5))
    for rate in (rate for table in tables for rate in table.rates):
        band = f"{rate.low:.3g} to {rate.high:.3g}"
        lines.append(
            _line((rate.name, f"{rate.value:.4f}", f"{rate.error:.4f}", band, "yes" if rate.holds else "**no**"))
        )
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"
