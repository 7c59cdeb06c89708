"""The resources of runs: CPUs, GPUs or shares of one, and time limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aimlib.component import Frozen

Device = Literal["cpu", "cuda"]


def _gpus_of(data: Any) -> Any:
    """Read ``gpus: auto`` as a whole GPU, which is shared once the number of runs that fit has been measured."""
    if not isinstance(data, dict) or data.get("gpus") is None:
        return data
    if data["gpus"] == "auto":
        return {**data, "gpus": 1.0, "gpus_auto": True}
    if isinstance(data["gpus"], str):
        raise ValueError(f"gpus: give a number, a share of a GPU such as 0.5, or auto; got {data['gpus']!r}")  # noqa: TRY004 -- pydantic turns ValueErrors into messages
    return {"gpus_auto": False, **data}


class Resources(Frozen):
    """The resources of one run. They are not part of a run's identity, but the number of CPUs affects the last bits."""

    cpus: Annotated[int, Field(ge=1)] = 1
    """CPUs of a run, and threads that torch uses for it."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of a run; with a fraction several runs share one GPU, each limited to that share of its memory. auto: as
    many runs share a GPU as fit according to measurements, at most `ablations.estimation.gpu_shares.MOST_RUNS`."""
    gpus_auto: bool = False
    """Whether `gpus` is auto; `gpus` is 1 until the share has been measured."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA if the run has a GPU, otherwise the CPU."""
    max_retries: Annotated[int, Field(ge=0)] = 10
    """How often in a row a run is retried after its process died or hung without progress."""
    isolation: Literal["actor", "process"] = "actor"
    """actor: worker processes compute one run after the other, with torch's state restored in between. process: every
    run has its own process, which repeats the imports each time."""
    stall_minutes: Annotated[float, Field(gt=0)] = 30.0
    """A run without a training step for this many minutes is ended and retried from its checkpoint. This includes
    preparing data, so allow time for it."""
    grace_seconds: Annotated[float, Field(ge=0)] = 25.0
    """Seconds that runs have to save their state after SIGTERM before they are ended."""

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
            raise ValueError(f"gpus: {self.gpus}: above 1 only whole numbers can be given to a run")
        if self.device == "cuda" and self.gpus == 0:
            raise ValueError("device: cuda needs gpus: a run without any sees no GPU")
        if self.device == "cpu" and self.gpus > 0:
            asked = "auto" if self.gpus_auto else f"{self.gpus:g}"
            raise ValueError(f"gpus: {asked} without effect: device is cpu")
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
    """CPUs of a run. Arms with different numbers of threads also differ in the last bits."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs of a run, its share of one, or auto."""
    gpus_auto: bool | None = None
    """Whether `gpus` is auto."""

    @model_validator(mode="before")
    @classmethod
    def _read_auto(cls, data: Any) -> Any:
        return _gpus_of(data)


def idle_gpus(resources: Resources) -> str | None:
    """Return a message about GPUs that a run is given but does not use; None if it uses all of them."""
    idle = int(resources.gpus) - 1
    if idle < 1:
        return None
    others = "the other stays idle" if idle == 1 else f"the other {idle} stay idle"
    return (
        f"resources.gpus: {resources.gpus:g}: a run trains on one GPU, and {others} while it does; give gpus: 1, and "
        f"runs side by side use them all"
    )
