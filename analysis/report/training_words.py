"""How the networks of a study were trained, in words: images, optimizer, loss, schedule, augmentation, fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from aimlib.errors import counted
from analysis.plan import Plan
from analysis.wording import number_format

_TECHNICAL = frozenset({"name", "learning_rate", "epsilon_on", "fused"})
"""Optimizer options that the clause leaves out: they are described elsewhere, or only affect the computation."""
_NAMED = 4
"""Up to this many arms that share a value are named, unless their names list levels; otherwise, only their number is
given.
"""
_GROUPS = 5
"""With more different values than this, only their number and an example are given."""


def how_trained(plan: Plan, runs: pd.DataFrame) -> str:
    """Return sentences on images and training options, each preceded by a space; empty if the store contains neither.

    Parameters
    ----------
    runs : the frame of runs from `Results`.
    """
    return "".join(f" {said}" for said in (*_images(runs), *_options(plan)))


def epochs_words(plan: Plan, runs: pd.DataFrame) -> str:
    """Return for how many epochs the study trains, preceded by a space; with "at most" if runs may end earlier."""
    budgets = sorted(set(runs["epochs_planned"].dropna()))
    if not budgets:
        return ""
    finished = runs[runs["status"] == "finished"]
    shorter = (finished["epochs_run"] < finished["epochs_planned"]).fillna(False).any()
    stopping = any(training_of(arm.config).get("early_stopping") for arm in plan.arms)
    most = "at most " if shorter or stopping else ""
    unit = "epoch" if budgets == [1] else "epochs"
    return f" for {most}{number_format.listing([str(budget) for budget in budgets])} {unit}"


def training_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an arm's training options; empty if other code trains."""
    found = config.get("training")
    return found if isinstance(found, Mapping) else {}


def is_augmented(plan: Plan) -> bool:
    """Return whether images are changed at random in any arm, as far as the plan shows."""
    return any(
        "augmentation" not in options or options["augmentation"] is not None or bool(options.get("transforms"))
        for options in (training_of(arm.config) for arm in plan.arms)
    )


def is_shuffled(plan: Plan) -> bool:
    """Return whether any arm uses its images in random order."""
    return any(training_of(arm.config).get("shuffle", True) for arm in plan.arms)


def _images(runs: pd.DataFrame) -> Iterator[str]:
    """Yield on how many images runs are trained and validated."""
    groups: dict[str, dict[str, None]] = {}
    known = runs[["arm", "train_images", "validation_images"]].drop_duplicates().dropna(subset=["train_images"])
    for arm, trained, validated in known.itertuples(index=False):
        held_out = "" if pd.isna(validated) or not validated else f" and validated on {number_format.whole(validated)}"
        groups.setdefault(f"trained on {number_format.whole(trained)} images{held_out}", {})[arm] = None
    if len(groups) == 1:
        yield f"Each run was {next(iter(groups))}."
    elif groups:
        parts = [f"the runs of {_arms(list(arms))} were {text}" for text, arms in groups.items()]
        yield f"The number of images differs between runs: {'; '.join(parts)}."


def _options(plan: Plan) -> Iterator[str]:
    """Yield a sentence on the options that all arms share, and one for each option in which arms differ."""
    arms = {arm.name: options for arm in plan.arms if (options := training_of(arm.config))}
    shared: list[str] = []
    differing: list[str] = []
    for topic, words in _TOPICS.items():
        groups: dict[str, list[str]] = {}
        for name, options in arms.items():
            groups.setdefault(words(options), []).append(name)
        if len(groups) == 1:
            shared += filter(None, groups)
        elif groups:
            differing.append(f"Arms differ in {topic}: {_grouped(groups)}.")
    if shared:
        yield f"Training uses {number_format.listing(shared)}."
    yield from differing


def _grouped(groups: Mapping[str, list[str]]) -> str:
    few = all(len(names) <= _NAMED and not any("[" in name for name in names) for names in groups.values())
    parts = [
        f"{text or 'none'} in {number_format.listing(names) if few else counted(len(names), 'arm')}"
        for text, names in groups.items()
    ]
    if len(parts) > _GROUPS:
        return f"{counted(len(parts), 'value')}, including {parts[0]}"
    return "; ".join(parts)


def _arms(names: Sequence[str]) -> str:
    return number_format.listing(list(names)) if len(names) <= _NAMED else counted(len(names), "arm")


def _optimizer(options: Mapping[str, Any]) -> str:
    found = options.get("optimizer")
    return f"the optimizer {_component(found)}" if found else ""


def _learning_rate(options: Mapping[str, Any]) -> str:
    rate = (options.get("optimizer") or {}).get("learning_rate")
    return "" if rate is None else f"a learning rate of {number_format.option(rate)}"


def _schedule(options: Mapping[str, Any]) -> str:
    if "schedule" not in options:
        return ""
    found = options["schedule"]
    return f"the learning-rate schedule {_component(found)}" if found else "no learning-rate schedule"


def _batches(options: Mapping[str, Any]) -> str:
    size = options.get("batch_size")
    return "" if size is None else f"batches of {counted(size, 'image')}"


def _loss(options: Mapping[str, Any]) -> str:
    if "loss" not in options:
        return ""
    found, smoothing = options["loss"], options.get("label_smoothing")
    words = f"the loss {_component(found)}" if found else "the cross-entropy loss"
    return words + (f" with label smoothing {number_format.option(smoothing)}" if smoothing else "")


def _scaling(options: Mapping[str, Any]) -> str:
    known = {"standardise": "images standardized by channel", "raw": "pixel values from 0 to 255"}
    return known.get(str(options.get("input_scaling")), "")


def _augmentation(options: Mapping[str, Any]) -> str:
    if "augmentation" not in options:
        return ""
    changes = options["augmentation"]
    parts = [f"the augmentation {_component(changes)}".rstrip()] if changes else []
    parts += [f"the transform {_component(each)}" for each in options.get("transforms") or ()]
    return number_format.listing(parts) if parts else "no augmentation"


def _early_stopping(options: Mapping[str, Any]) -> str:
    found = options.get("early_stopping")
    return f"early stopping {_component(found)}".rstrip() if found else ""


def _fine_tuning(options: Mapping[str, Any]) -> str:
    found = options.get("fine_tuning") or {}
    parts = [_frozen(each) for each in found.get("freeze") or ()]
    parts += [
        f"{number_format.option(each.get('scale'))} times the learning rate for {_layers(each)}"
        for each in found.get("learning_rates") or ()
    ]
    if found.get("layer_decay"):
        parts.append(f"a layer-wise decay of the learning rate by {number_format.option(found['layer_decay'])}")
    if found.get("ema"):
        parts.append(f"a moving average of the weights {_component(found['ema'])}".rstrip())
    return number_format.listing(parts) if parts else ""


def _frozen(each: Mapping[str, Any]) -> str:
    epochs = each.get("epochs")
    when = "throughout" if epochs is None else f"for the first {counted(epochs, 'epoch')}"
    return f"frozen layers ({_layers(each)}, {when})"


def _layers(each: Mapping[str, Any]) -> str:
    layers = each.get("layers") or ()
    return number_format.listing([layers] if isinstance(layers, str) else [str(layer) for layer in layers])


def _component(found: Mapping[str, Any]) -> str:
    """Return a component as ``adam (beta1 0.9, beta2 0.999)``; options without an effect are left out."""
    given = [
        key.replace("_", " ") + ("" if value is True else f" {number_format.option(value)}")
        for key, value in found.items()
        if key not in _TECHNICAL and value not in (None, False, 0, "", [], (), {})
    ]
    name = str(found.get("name") or "").replace("_", " ")
    return f"{name} ({', '.join(given)})".lstrip() if given else name


_TOPICS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "the optimizer": _optimizer,
    "the learning rate": _learning_rate,
    "the learning-rate schedule": _schedule,
    "the batch size": _batches,
    "the loss": _loss,
    "the scaling of images": _scaling,
    "the augmentation": _augmentation,
    "early stopping": _early_stopping,
    "fine-tuning": _fine_tuning,
}
"""For each topic, the function that returns a clause on an arm's options; empty if there is nothing to say."""
