"""The NeurIPS paper checklist for a study, filled in as far as the store allows; the rest is left for the authors.

The items are those of the 2025 checklist (https://neurips.cc/public/guides/PaperChecklist), in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from aimlib.errors import counted
from aimlib.records.escaping import markdown
from analysis.findings.deviations import runs_before
from analysis.findings.study import Findings
from analysis.reading.factors import options
from analysis.report import training_code
from analysis.report.cautions import cautions
from analysis.wording import number_format

Answer = Literal["yes", "no", "partly", "open"]
_SETTINGS = (
    "training.optimizer",
    "training.optimizer.learning_rate",
    "training.optimizer.weight_decay",
    "training.batch_size",
    "training.epochs",
    "training.schedule",
    "training.early_stopping.patience",
    "training.selection",
    "training.augmentation.passes",
    "data.size",
)
_OPEN = (
    ("Code of ethics", "Does the research conform to the code of ethics?"),
    ("Broader impacts", "Are positive and negative impacts on society discussed?"),
    ("Safeguards", "Are there safeguards for data or models with a high risk of misuse?"),
    (
        "Licenses of existing assets",
        "Are the owners of code, data and models credited, and are their licenses respected?",
    ),
    ("New assets", "Are new assets documented?"),
    ("Crowdsourcing and human subjects", "Are the instructions to participants and their compensation described?"),
    ("Approval for research with human subjects", "Are risks and the approval by a review board described?"),
    ("Use of large language models", "Is the use of language models declared if they are part of the method?"),
)


@dataclass(frozen=True)
class Item:
    """A checklist item.

    Attributes
    ----------
    answer : whether the store contains the answer: "partly" if the authors must add to it, "open" if the store lacks
        it.
    text : the facts.
    left : what the authors must still do; may be empty.
    """

    title: str
    question: str
    answer: Answer
    text: tuple[str, ...] = ()
    left: str = ""


def checklist(findings: Findings) -> list[Item]:
    """Return the 16 items in the checklist's order."""
    return [each(findings) for each in _FILLED] + [
        Item(title, question, "open", left="Answer this item: the store does not record it.")
        for title, question in _OPEN
    ]


def _claims(findings: Findings) -> Item:
    text = [f"The study found: {findings.headline}"]
    text += [findings.causal] if findings.causal else []
    return Item(
        "Claims",
        "Do the abstract and introduction claim what was found, with its scope?",
        "partly",
        tuple(text),
        "Compare the abstract and introduction with these sentences.",
    )


def _limitations(findings: Findings) -> Item:
    said = tuple(caution.text for caution in cautions(findings))
    return Item(
        "Limitations",
        "Are the limitations discussed?",
        "partly",
        said or ("The report contains no cautions.",),
        "Discuss these limitations, and those that the records cannot show: other data, networks and budgets.",
    )


def _theory(_: Findings) -> Item:
    return Item(
        "Theory, assumptions and proofs",
        "Is every theoretical result stated with its assumptions and a proof?",
        "open",
        left="Answer this item if the paper has theoretical results: a study does not contain any.",
    )


def _reproducibility(findings: Findings) -> Item:
    frozen, runs = findings.results.frozen, findings.results.runs
    commits = sorted(set(runs["git_commit"].dropna()))
    text = [_of_plan(findings)]
    text.append(f"Code: {number_format.listing(commits) if commits else 'outside a checkout'}.")
    if int(runs["git_dirty"].notna().sum()):
        text.append("Some runs were computed with uncommitted changes; their hash is listed under Provenance.")
    text.append(
        "`ablate archive` packs the rows, the plan, the ledger and the source code; `ablate recompute` computes the "
        "verdict again."
    )
    return Item(
        "Reproducibility of experimental results",
        "Is everything that is needed to reproduce the main results disclosed?",
        "yes" if frozen is not None and commits else "partly",
        tuple(text),
        "" if frozen is not None and commits else "State which code computed the runs.",
    )


def _of_plan(findings: Findings) -> str:
    frozen = findings.results.frozen
    if frozen is None:
        return "No analysis plan was frozen, so the results are exploratory."
    early = runs_before(findings.results.runs, frozen)
    when = f"after {counted(early, 'run')} had begun" if early else "before the first run"
    followed = "not followed in every respect" if findings.deviations else "followed"
    return f"The analysis plan was frozen {when} (SHA-256 {frozen.sha256}), and it was {followed}."


def _access(findings: Findings) -> Item:
    scope = findings.results.plan.scope
    return Item(
        "Open access to data and code",
        "Are the data and code available, with instructions?",
        "partly",
        (
            f"The data set is {scope.dataset}, with {scope.classes} classes. The fingerprint of its decoded images and "
            f"labels is {scope.data_fingerprint}.",
        ),
        "State where the data, the code and the archive are published.",
    )


def _settings(findings: Findings) -> Item:
    plan, runs = findings.results.plan, findings.results.runs
    sizes = [_range(runs, name, words) for name, words in _IMAGES.items()]
    text = [f"Images: {', '.join(each for each in sizes if each)}."] if any(sizes) else []
    values = {name: dict.fromkeys(_said(arm.config, name) for arm in plan.arms) for name in _SETTINGS}
    known = [f"{name} {', '.join(each)}" for name, each in values.items() if each and "" not in each]
    text += [f"Options across all arms: {'; '.join(known)}."] if known else []
    text += [
        "All options in which arms differ are in `tables/models.csv`; `ablate results DIRECTORY --columns config` "
        "lists all options of every run."
    ]
    if findings.screening is not None:
        text.append("Arms were chosen in a search on validation data with separate seeds, which the report describes.")
    return Item(
        "Experimental setting",
        "Are the splits, the hyperparameters, how they were chosen, and the optimizer stated?",
        "partly",
        tuple(text),
        "" if findings.screening is not None else "State how the hyperparameters were chosen.",
    )


_IMAGES = {"train_images": "training", "validation_images": "validation", "test_images": "test"}


def _range(runs: pd.DataFrame, column: str, words: str) -> str:
    values = runs[column].dropna()
    if values.empty:
        return ""
    low, high = int(values.min()), int(values.max())
    ends = number_format.whole(low) if low == high else f"{number_format.whole(low)} to {number_format.whole(high)}"
    return f"{ends} {words}"


def _said(config: dict[str, object], name: str) -> str:
    value = options(config).get(name, "")
    return number_format.option(value) if value is None or isinstance(value, (str, int, float)) else ""


def _significance(findings: Findings) -> Item:
    plan, runs = findings.results.plan, findings.results.runs
    primary = findings.primary
    text = [
        _of_intervals(findings),
        training_code.what_a_seed_determines(plan, runs),
        "The intervals assume that the differences between paired seeds are normally distributed and independent. The "
        "report also contains a sign-flip test, a bootstrap and further checks.",
    ]
    if primary is not None and primary.interval.n > 1:
        text.append(f"The primary comparison has {counted(primary.interval.n, 'pair')}.")
    reached = primary is not None and primary.interval.n > 1
    return Item(
        "Statistical significance",
        "Are error bars and other information on significance reported, with their meaning and assumptions?",
        "yes" if reached else "no",
        tuple(text),
    )


def _of_intervals(findings: Findings) -> str:
    """Return what the intervals are, at which looks a verdict is allowed, and what their levels account for."""
    looks, primary = findings.results.plan.looks, findings.primary
    further = " The levels for further arms are those of Holm’s procedure."
    further = further if any(c.family == "variant" for c in findings.family.comparisons) else ""
    no_other = "for the mean over seeds, not standard deviations or standard errors"
    if looks.anytime:
        return (
            f"Intervals belong to a two-sided confidence sequence {no_other}. The verdict may be read {looks.text}; in "
            f"at least {number_format.level(looks.alpha)} of studies, the intervals after all numbers of pairs contain "
            f"the true mean.{further}"
        )
    if not looks.planned or looks.further_block:
        return (
            f"Intervals are two-sided paired t intervals {no_other}. The verdict is read {looks.text}; the confidence "
            f"level accounts for all looks.{further}"
        )
    level = number_format.level(looks.levels[0] if primary is None else primary.interval.alpha)
    numbers = number_format.listing([str(number) for number in looks.numbers])
    accounts = "; the confidence level accounts for this" if len(looks.numbers) > 1 else ""
    return (
        f"Intervals are two-sided {level} paired t intervals {no_other}. The verdict is read after {numbers} "
        f"pairs{accounts}.{further}"
    )


def _compute(findings: Findings) -> Item:
    runs = findings.results.runs
    seconds = runs["seconds"].dropna()
    devices = sorted(set((runs["device_name"].fillna(runs["device"])).dropna()))
    text = []
    if len(seconds):
        hours, middle = number_format.significant(seconds.sum() / 3600, 3), number_format.significant(seconds.median())
        where = number_format.listing(devices)
        text.append(f"The total run time is {hours} h on {where}; the median run took {middle} s.")
    peak = runs["peak_device_bytes"].dropna() if "peak_device_bytes" in runs else pd.Series(dtype="float64")
    text += [f"The largest device memory allocation was {peak.max() / 2**30:.1f} GiB."] if len(peak) else []
    failed, resumed = int((runs["status"] == "failed").sum()), int((runs["attempts"].fillna(1) > 1).sum())
    text.append(f"{counted(failed, 'run')} failed, and {resumed} were interrupted and resumed.")
    return Item(
        "Compute resources",
        "Are the computers and the time needed for every experiment stated, and the total for the entire project?",
        "partly" if len(seconds) else "open",
        tuple(text),
        "Add the project’s experiments that are not part of this study.",
    )


_FILLED: tuple[Callable[[Findings], Item], ...] = (
    _claims,
    _limitations,
    _theory,
    _reproducibility,
    _access,
    _settings,
    _significance,
    _compute,
)


def page(findings: Findings) -> str:
    """Return the checklist in Markdown."""
    items = checklist(findings)
    filled = sum(item.answer != "open" for item in items)
    lines = [
        f"# NeurIPS paper checklist for the study {markdown(findings.results.plan.name)}",
        "",
        f"The store answers {filled} of {len(items)} items, most of them only partly. The authors complete the rest.",
    ]
    for number, item in enumerate(items, 1):
        lines += ["", f"## {number}. {item.title}: {item.answer}", "", item.question]
        lines += ["", *(f"* {_escaped(text)}" for text in item.text)] if item.text else []
        lines += ["", f"**To do:** {item.left}"] if item.left else []
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return a sentence as Markdown in which commands keep their backticks."""
    parts = text.split("`")
    return "".join(f"`{part}`" if at % 2 else _spaced(part) for at, part in enumerate(parts))


def _spaced(part: str) -> str:
    """Return a part of a sentence as Markdown, keeping the spaces at its ends, which escaping would remove."""
    before, after = part[: len(part) - len(part.lstrip())], part[len(part.rstrip()) :]
    return f"{before}{markdown(part.strip())}{after}" if part.strip() else part
