"""The resources for runs: CPUs, GPUs or GPU shares, host memory, custom resources, and time limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic.json_schema import SkipJsonSchema

from ablations.spec.byte_sizes import parse_bytes
from ablations.spec.written import TEXT, as_any_of
from aimlib.component import Frozen

Device = Literal["cpu", "cuda"]
_LEAST_BYTES = 2**20
"""Every run needs more bytes than this; a smaller number is a mistake in the unit."""
_OWN_KEYS = {"CPU": "cpus", "GPU": "gpus", "memory": "memory", "object_store_memory": ""}
"""Ray's names for resources that cannot be custom resources, with the corresponding keys."""


def _gpus_of(data: Any) -> Any:
    """Read ``gpus: auto`` as a whole GPU, to be shared once a measurement shows how many runs fit on it."""
    if not isinstance(data, dict) or data.get("gpus") is None:
        return data
    if data["gpus"] == "auto":
        return {**data, "gpus": 1.0, "gpus_auto": True}
    if isinstance(data["gpus"], str):
        raise ValueError(f"gpus: must be a number, a share of a GPU such as 0.5, or auto; got {data['gpus']!r}")  # noqa: TRY004 -- pydantic turns ValueErrors into messages
    return {"gpus_auto": False, **data}


def _memory_of(value: Any) -> Any:
    """Read an amount of host memory, such as 4GiB."""
    found = parse_bytes(value) if isinstance(value, str) else value
    if isinstance(found, int | float) and not isinstance(found, bool):
        if found < _LEAST_BYTES:
            raise ValueError(f"{value!r} is {found:g} bytes, too little for any run; add a unit, such as 4GiB")
        return int(found)
    return found


def _custom_of(value: Mapping[str, float]) -> Mapping[str, float]:
    """Raise an error for names that have their own key, and for amounts that Ray does not accept."""
    for name, amount in value.items():
        if name in _OWN_KEYS:
            key = _OWN_KEYS[name]
            raise ValueError(
                f"{name} is not a custom resource; " + (f"set resources.{key} instead" if key else "remove it")
            )
        if name.startswith("accelerator_type:"):
            raise ValueError(f"{name}: set resources.accelerator_type: {name.partition(':')[2]}")
        if amount > 1 and amount != int(amount):
            raise ValueError(f"{name}: {amount:g}: must be a whole number if greater than 1")
    return value


Memory = Annotated[int, BeforeValidator(_memory_of), as_any_of({"type": "number", "minimum": _LEAST_BYTES}, TEXT)]
Gpus = Annotated[float, Field(ge=0), as_any_of({"type": "number", "minimum": 0}, {"const": "auto"})]
AcceleratorType = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^:\s]+$")]
Custom = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1)], Annotated[float, Field(gt=0)]],
    AfterValidator(_custom_of),
]


class Resources(Frozen):
    """The resources for one run.

    They are not part of a run's identity, but the number of CPUs affects the last bits of a run's results.
    """

    cpus: Annotated[int, Field(ge=1)] = 1
    """Number of CPUs per run, and number of threads that torch uses in a run."""
    gpus: Gpus = 0.0
    """Number of GPUs per run. With a fraction, several runs share one GPU, each limited to that share of its memory.
    With auto, the number of runs that share a GPU is measured; it is at most
    `ablations.estimation.gpu_shares.MOST_RUNS`."""
    gpus_auto: SkipJsonSchema[bool] = False
    """Whether `gpus` is auto; `gpus` is 1 until the share has been measured."""
    memory: Memory | None = None
    """Host memory (RAM) for a run in bytes, or with a unit: 4GiB, 500 MB. Ray does not start more runs on a node than
    fit in the node's memory, but does not limit a run to this amount. None: memory is not considered."""
    accelerator_type: AcceleratorType | None = None
    """Type of accelerator that a node must have, by Ray's name, for example A100. None: any node."""
    custom: Custom = Field(default_factory=dict, json_schema_extra={"default": {}})
    """Custom resources of the cluster's nodes that a run uses, by name, for example ``{tpu_slice: 1}``."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA if the run has a GPU, otherwise the CPU."""
    max_retries: Annotated[int, Field(ge=0)] = 10
    """Maximum number of consecutive retries of a run that makes no progress after its process died or hung."""
    isolation: Literal["actor", "process"] = "actor"
    """actor: worker processes compute one run after another, and torch's state is restored between runs. process: every
    run has its own process and must repeat the imports."""
    stall_minutes: Annotated[float, Field(gt=0)] = 30.0
    """Minutes without a training step after which a run is stopped and retried from its checkpoint. Preparing the data
    counts toward this limit, so allow time for it."""
    grace_seconds: Annotated[float, Field(ge=0)] = 25.0
    """Seconds that runs have after SIGTERM to save their state before they are stopped."""
    outage_hours: Annotated[float, Field(ge=0, le=10_000)] = 12.0
    """Hours that a session and its runs wait, before they give up, for storage that is full or unreachable or that
    refuses access. With 0, they do not wait."""

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
            raise ValueError(f"gpus: {self.gpus}: must be a whole number if greater than 1")
        if self.device == "cuda" and self.gpus == 0:
            raise ValueError(
                "device: cuda needs gpus greater than 0, because a run uses only the GPUs assigned to it; set gpus"
            )
        if self.device == "cpu" and self.gpus > 0:
            asked = "auto" if self.gpus_auto else f"{self.gpus:g}"
            raise ValueError(f"gpus: {asked} has no effect, because device is cpu; remove gpus or change device")
        return self

    def with_changes(self, changes: ArmResources | None) -> Resources:
        """Return the resources for an arm's runs.

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
    """Number of CPUs per run. Arms with different numbers of threads also differ in the last bits of their results."""
    gpus: Gpus | None = None
    """Number of GPUs per run, a fraction of a GPU, or auto."""
    gpus_auto: SkipJsonSchema[bool | None] = None
    """Whether `gpus` is auto."""
    memory: Memory | None = None
    """Host memory (RAM) for a run in bytes, or with a unit: 4GiB."""
    accelerator_type: AcceleratorType | None = None
    """Type of accelerator that a node must have, by Ray's name."""
    custom: Custom | None = None
    """Custom resources that a run uses; they replace all custom resources of the study."""

    @model_validator(mode="before")
    @classmethod
    def _read_auto(cls, data: Any) -> Any:
        return _gpus_of(data)


def idle_gpus(resources: Resources) -> str | None:
    """Return a message about GPUs that are assigned to a run but not used, or None if the run uses all of them."""
    idle = int(resources.gpus) - 1
    if idle < 1:
        return None
    others = "the other stays idle" if idle == 1 else f"the other {idle} stay idle"
    return (
        f"resources.gpus: {resources.gpus:g}: a run trains on one GPU, and {others}; set gpus: 1 so that "
        f"parallel runs use all GPUs"
    )
