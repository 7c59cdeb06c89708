"""How a notebook shows results: each arm's accuracy in a short table, with all text escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aimlib.errors import counted
from aimlib.records.html_tables import paragraph, table
from analysis.wording.number_format import level, percent

if TYPE_CHECKING:
    from analysis.results import Results, Studies

_ALPHA = 0.05


def of_results(results: Results) -> str:
    """Return each arm's accuracy: on test images once the verdict is due, on validation images before that."""
    from analysis.statistics.blinding import is_screening, verdict_is_due  # noqa: PLC0415

    plan = results.plan
    due = not is_screening(results.directory) and verdict_is_due(plan, results.runs)
    value = "test_accuracy" if due else "validation_accuracy"
    done = len(plan.runs) - len(results.missing)
    blind = "" if due else "; test accuracies are shown here once the verdict is due"
    return "".join(
        [
            paragraph(f"Study {plan.name}: {done} of {counted(len(plan.runs), 'run')} have a result", bold=True),
            _accuracies(results, ["arm"], value),
            paragraph(
                f"{value.replace('_', ' ')} in %, with {level(_ALPHA)} t intervals for the mean{blind}. See also "
                "results.runs, .epochs, .models, .compare(treatment, control); analysis.examine(results)"
            ),
        ]
    )


def of_studies(studies: Studies) -> str:
    """Return each arm's accuracy in several studies, on validation images."""
    return paragraph(counted(len(studies.results), "study", "studies"), bold=True) + (
        _accuracies(studies, ["directory", "arm"], "validation_accuracy")
        + paragraph("validation accuracy in %. See also studies.runs, .epochs, .models, .results[directory]")
    )


def _accuracies(results: Results | Studies, by: list[str], value: str) -> str:
    from analysis.reading.query import summarise  # noqa: PLC0415 -- scipy only where intervals are shown

    found = summarise(results.runs, by, value, _ALPHA, ("n", "mean", "ci"))
    rows = [
        (*key, int(n), percent(mean), f"{percent(lower)} to {percent(upper)}" if n > 1 else "–")
        for *key, n, mean, lower, upper in found.itertuples(index=False, name=None)
    ]
    return table((*by, "n", "mean", "interval"), rows, numbers=("n", "mean"))
