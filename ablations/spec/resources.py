"""The resources of runs: CPUs, GPUs or shares of one, and time limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aimlib.component import Frozen

Device = Literal["cpu", "cuda"]


def _gpus_of(data: Any) -> Any:
    """Read ``gpus: auto`` as a whole GPU, to be shared once it has been measured how many runs fit on it."""
    if not isinstance(data, dict) or data.get("gpus") is None:
        return data
    if data["gpus"] == "auto":
        return {**data, "gpus": 1.0, "gpus_auto": True}
    if isinstance(data["gpus"], str):
        raise ValueError(f"gpus: give a number, a share of a GPU such as 0.5, or auto; got {data['gpus']!r}")  # noqa: TRY004 -- pydantic turns ValueErrors into messages
    return {"gpus_auto": False, **data}


class Resources(Frozen):
    """The resources of one run.

    They are not part of a run's identity, but the number of CPUs affects the last bits of its numbers.
    """

    cpus: Annotated[int, Field(ge=1)] = 1
    """Number of CPUs per run, and of threads that torch uses for it."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """Number of GPUs per run. With a fraction, several runs share one GPU, each limited to that share of its memory.
    With auto, as many runs share a GPU as fit according to measurements, at most
    `ablations.estimation.gpu_shares.MOST_RUNS`."""
    gpus_auto: bool = False
    """Whether `gpus` is auto; `gpus` is 1 until the share has been measured."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA if the run has a GPU, otherwise the CPU."""
    max_retries: Annotated[int, Field(ge=0)] = 10
    """How many times in a row a run is retried without progress after its process died or hung."""
    isolation: Literal["actor", "process"] = "actor"
    """actor: worker processes compute one run after another, and torch's state is restored between runs. process: every
    run has its own process, which repeats the imports each time."""
    stall_minutes: Annotated[float, Field(gt=0)] = 30.0
    """Minutes without a training step after which a run is stopped and retried from its checkpoint. Preparing the data
    counts, so allow time for it."""
    grace_seconds: Annotated[float, Field(ge=0)] = 25.0
    """Seconds that runs have to save their state after SIGTERM before they are stopped."""

    @property
    def trained_on(self) -> Device:
        """The type of device on which a run is trained."""
        if self.device == "auto":
            return "cuda" if self.gpus > 0 else "cpu"
        return self.device

    @model_validator(mode="before")
    @classmethod
    def _read_auto(cls, data: Any) -> Any:
        return _gpus_of(data)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus: {self.gpus}: above 1, give a whole number")
        if self.device == "cuda" and self.gpus == 0:
            raise ValueError("device: cuda needs gpus above 0, because a run can only use GPUs that it is given")
        if self.device == "cpu" and self.gpus > 0:
            asked = "auto" if self.gpus_auto else f"{self.gpus:g}"
            raise ValueError(f"gpus: {asked} has no effect, because device is cpu")
        return self

    def with_changes(self, changes: ArmResources | None) -> Resources:
        """Return the resources of an arm's runs.

        Raises
        ------
        ConfigError: the arm's resources conflict with the study's.
        """
        if changes is None:
            return self
        given: dict[str, Any] = changes.model_dump(exclude_none=True)
        return Resources.parse({**self.model_dump(), **given})


class ArmResources(Frozen):
    """Resources of one arm's runs that differ from the study's, for example for a large network among small ones."""

    cpus: Annotated[int, Field(ge=1)] | None = None
    """Number of CPUs per run. Arms with different numbers of threads also differ in the last bits of their numbers."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """Number of GPUs per run, a fraction of one, or auto."""
    gpus_auto: bool | None = None
    """Whether `gpus` is auto."""

    @model_validator(mode="before")
    @classmethod
    def _read_auto(cls, data: Any) -> Any:
        return _gpus_of(data)


def idle_gpus(resources: Resources) -> str | None:
    """Return a message about GPUs that a run is given but does not use, or None if it uses all of them."""
    idle = int(resources.gpus) - 1
    if idle < 1:
        return None
    others = "the other stays idle" if idle == 1 else f"the other {idle} stay idle"
    return (
        f"resources.gpus: {resources.gpus:g}: a run trains on one GPU, and {others}; give gpus: 1, so that "
        f"parallel runs use all of them"
    )
