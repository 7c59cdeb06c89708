"""Choose how a run computes its steps."""

from __future__ import annotations

from collections.abc import Callable

from aimlib.config import RunConfig
from aimlib.training.steps import proof
from aimlib.training.steps.base import Computation, Inputs, Step
from aimlib.training.steps.compiled import CompiledStep
from aimlib.training.steps.eager import EagerStep
from aimlib.training.steps.graph import GraphStep, is_capture_failure, is_out_of_memory, obstacle

OnNotice = Callable[[str], None]
"""Called with a message for the user about a run."""

_STATED: dict[str, type[Step]] = {"eager": EagerStep, "graph": GraphStep, "compiled": CompiledStep}


def stated_step(config: RunConfig, computation: Computation) -> Step | None:
    """Return the step that the configuration requests; None if it leaves the choice open (``auto``).

    Raises
    ------
    UsageError: the device or the optimizer does not support this kind of step.
    """
    stated = config.training.step
    return None if stated == "auto" else _STATED[stated](computation)


def chosen_step(
    config: RunConfig, computation: Computation, inputs: Inputs, kept: str | None, on_notice: OnNotice
) -> Step:
    """Choose the step for ``auto``: a graph if it computes the same bits as eager steps, otherwise an eager step.

    Parameters
    ----------
    inputs : the first full batch.
    kept : how the run has computed its steps so far; the run continues in the same way.
    """
    if kept == "eager" or obstacle(computation):
        return EagerStep(computation)
    try:
        return _proven(config, computation, inputs, on_notice) or EagerStep(computation)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        on_notice(
            "training steps run eagerly: a captured CUDA graph does not fit into the device's memory together with "
            "the run"
        )
        return EagerStep(computation)


def _proven(config: RunConfig, computation: Computation, inputs: Inputs, on_notice: OnNotice) -> GraphStep | None:
    """Return a captured step that computes the same bits as eager steps; otherwise, issue a notice and return None."""
    key = proof.key_of(config, computation, inputs)
    finding, step = proof.known(key), None
    if finding is None:
        finding, step = proof.compare(computation, inputs)
        proof.keep(key, finding)
    if not finding.equal:
        on_notice(f"training steps run eagerly, not as a CUDA graph: {finding.reason}")
        return None
    return step or _captured(computation, inputs, on_notice)


def _captured(computation: Computation, inputs: Inputs, on_notice: OnNotice) -> GraphStep | None:
    """Return a captured step; if it cannot be captured this time, issue a notice and return None."""
    step = GraphStep(computation)
    try:
        step.capture(inputs)
    except RuntimeError as error:
        if not is_capture_failure(error):
            raise
        on_notice(f"training steps run eagerly: the step could not be captured as a CUDA graph ({error})")
        return None
    return step
