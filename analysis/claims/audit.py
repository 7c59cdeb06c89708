"""The audit of a claim, statement by statement: what is claimed, what is found, and whether they agree.

Statements are data (`analysis/claims/*.yaml`), each with the kind of its check. Statements that a study cannot check
are listed with the reason; no statement is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from aimlib.errors import StoreError, counted
from analysis.claims import Claim
from analysis.looks import FEWEST_PAIRS
from analysis.reading.frames import parsed_json
from analysis.results import Results
from analysis.statistics.interval import t_interval
from analysis.statistics.paired import OUTCOMES
from analysis.wording import number_format

AGREES, COMPATIBLE, CONTRADICTED, UNCHECKED = "agrees", "compatible", "contradicted", "not checked"
_WIDEST_PP = 10.0
"""A prediction interval that is wider than this is too imprecise to count as agreement."""
_TYPES = dict.fromkeys(("statement", "source", "said", "found", "verdict", "evidence"), "str")
_Line = tuple[str, str, str, str]
"""The columns said, found, verdict and evidence."""


def audit(claim: Claim, results: Results, outside: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return statement, source, said, found, verdict and evidence, with one row per statement, in the claim's order.

    Parameters
    ----------
    outside : why the study is outside the claim's scope; in that case, only statements about the claim's own logs are
        checked.
    """
    rows = []
    for statement in claim.statements:
        check = statement.check
        if check["kind"] == "none":
            line: _Line = ("", "", UNCHECKED, str(check["why"]))
        elif check["kind"] == "curve":
            line = _curve(check, claim)
        elif outside:
            line = (_said(check), "", UNCHECKED, f"this study is outside the scope: {outside[0]}")
        elif not statement.fits(protocol := results.plan.scope.protocol):
            wanted = " or ".join(statement.protocols)
            line = (
                _said(check),
                "",
                UNCHECKED,
                f"the statement is about the protocol {wanted}; this study follows {protocol}",
            )
        else:
            line = _CHECKS[str(check["kind"])](check, results)
        rows.append((statement.says, statement.source, *line))
    return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)


def _said(check: Mapping[str, Any]) -> str:
    if "equals" not in check:
        return ""
    if check["kind"] == "accuracy" or check.get("statistic") == "best":
        return f"{number_format.percent(check['equals'])} %"
    return number_format.whole(check["equals"])


def _arm(results: Results, role: str) -> str | None:
    return next((arm.name for arm in results.plan.arms if arm.role == role), None)


def _model(check: Mapping[str, Any], results: Results) -> _Line:
    arm, said = _arm(results, check["role"]), _said(check)
    rows = results.models[results.models["arm"] == arm]
    if arm is None or rows.empty:
        return said, "", UNCHECKED, f"the study has no {check['role']} arm with a stored description of its network"
    value = _column(rows.to_dict("records")[0], str(check["column"]))
    words = f"{_COLUMN_WORDS[str(check['column'])]} of arm {arm}"
    if (over := check.get("over")) is not None:
        other = _arm(results, over)
        less = results.models[results.models["arm"] == other]
        if other is None or less.empty:
            return said, "", UNCHECKED, f"the study has no {over} arm with a stored description of its network"
        value -= _column(less.to_dict("records")[0], str(check["column"]))
        words += f", minus those of arm {other}"
    agrees = abs(value - check["equals"]) <= check["within"]
    return said, number_format.whole(value), AGREES if agrees else CONTRADICTED, words


_COLUMN_WORDS = {
    "keras_parameters": "parameters and running statistics",
    "memory_values": "numbers in the memory",
    "memory_degrees_of_freedom": "distinct values that the source can hold",
    "readers": "layers that read the memory",
    "static_readers": "layers that read a memory that is never updated",
}


def _column(row: Mapping[Any, Any], column: str) -> int:
    if column == "keras_parameters":
        return int(row["parameters"]) + int(row["running_statistics"])
    if column in ("readers", "static_readers"):
        readers = _list(row, "readers")
        return (
            sum(reader.get("memory") == "static" for reader in readers) if column == "static_readers" else len(readers)
        )
    return int(row[column])


def _list(row: Mapping[Any, Any] | pd.Series[Any], column: str) -> list[Any]:
    found = parsed_json(row[column], None)
    if not isinstance(found, list):
        raise StoreError(
            f"models.parquet: {column} of arm {row['arm']!r} is not a list; delete the file and run `ablate run` again"
        )
    return found


def _same(check: Mapping[str, Any], results: Results) -> _Line:
    arm, said = _arm(results, "treatment"), "nothing differs"
    rows = results.models[results.models["arm"] == arm]
    if arm is None or rows.empty or _arm(results, "baseline") is None:
        return said, "", UNCHECKED, "the study does not have both a baseline and a treatment arm"
    below = tuple(check["below"])
    found = [
        f"{item['option']}: {number_format.option(item['baseline'])} in the baseline, "
        f"{number_format.option(item['value'])} in the treatment"
        for item in _list(rows.iloc[0], "differences")
        if any(item["option"] == path or item["option"].startswith(f"{path}.") for path in below)
    ]
    options = counted(len(found), "option")
    return (
        said,
        f"{options} {'differs' if len(found) == 1 else 'differ'}" if found else said,
        CONTRADICTED if found else AGREES,
        "; ".join(found),
    )


def _option(check: Mapping[str, Any], results: Results) -> _Line:
    arm = next((arm for arm in results.plan.arms if arm.role == check["role"]), None)
    if arm is None:
        return "", "", UNCHECKED, f"the study has no {check['role']} arm"
    if not arm.config:
        return "", "", UNCHECKED, f"the plan does not contain the configuration of arm {arm.name}"
    value: Any = arm.config
    for key in str(check["option"]).split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return (
            "set",
            "not set",
            CONTRADICTED,
            f"{check['option']} of arm {arm.name}: only the weights are passed on",
        )
    return "set", number_format.option(value), AGREES, f"{check['option']} of arm {arm.name}"


def _curve(check: Mapping[str, Any], claim: Claim) -> _Line:
    said = _said(check)
    rows = claim.curves[claim.curves["arm"] == check["arm"]]
    if rows.empty:
        return said, "", UNCHECKED, f"the claim does not include a log of {check['arm']}"
    if check["statistic"] == "epochs":
        value: float = len(rows)
        found = number_format.whole(value)
        evidence = "epochs in the log"
    else:
        best = rows.to_dict("records")[int(rows["val_accuracy"].to_numpy().argmax())]
        value, found = float(best["val_accuracy"]), f"{number_format.percent(best['val_accuracy'])} %"
        evidence = f"best epoch in the log, number {best['epoch']} of {len(rows)}"
    return said, found, AGREES if abs(value - check["equals"]) <= check["within"] else CONTRADICTED, evidence


def _accuracy(check: Mapping[str, Any], results: Results) -> _Line:
    arm, said = _arm(results, check["role"]), _said(check)
    runs = results.runs
    rows = runs[(runs["arm"] == arm) & runs["status"].isin(OUTCOMES) & runs["test_accuracy"].notna()]
    found = t_interval(100 * rows["test_accuracy"].astype("float64"), results.plan.looks.alpha)
    if found.n < FEWEST_PAIRS:
        return said, "", UNCHECKED, f"fewer than {FEWEST_PAIRS} runs of the {check['role']} arm have an accuracy"
    low, high = found.prediction
    if high - low > _WIDEST_PP:
        return said, "", UNCHECKED, f"too imprecise: the interval for one further run is {high - low:.0f} pp wide"
    agrees = low <= 100 * check["equals"] <= high
    span = f"{number_format.decimal(low)} to {number_format.decimal(high)} %"
    evidence = (
        f"prediction interval for one further run of arm {arm}, from {found.n} runs "
        f"({number_format.level(found.alpha)})"
    )
    return said, span, COMPATIBLE if agrees else CONTRADICTED, evidence


_CHECKS: dict[str, Callable[[Mapping[str, Any], Results], _Line]] = {
    "model": _model,
    "same": _same,
    "option": _option,
    "accuracy": _accuracy,
}
