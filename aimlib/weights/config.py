"""`WeightsConfig`: which file a network starts from, and how it is read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from aimlib.component import Frozen, Names, local
from aimlib.errors import UsageError


class WeightsConfig(Frozen):
    """A file with parameters and buffers; in a study a text is read as its `source`.

    The run id contains the SHA-256 of the file, and neither its name nor its place.
    """

    source: str = local(
        ...,
        "A file (safetensors, or a state dict that torch saved) relative to the study, or a torchvision name such as "
        "ResNet18_Weights.IMAGENET1K_V1; DEFAULT is the one that torchvision recommends for the backbone.",
        min_length=1,
    )
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    """Hash of the file. A plan fills it in; a study that gives it refuses any other file."""
    key: str | None = None
    """Where the state dict is in a file that has it inside other mappings, e.g. state_dict."""
    prefix: str = ""
    """Beginning of the file's names that is removed, e.g. ``module.``; names without it are not read."""
    leave_out: Names = ()
    """Names or patterns (``fc.*``) that are not loaded: what the network has under them starts as it would without a
    file."""

    @model_validator(mode="before")
    @classmethod
    def _source_alone(cls, data: Any) -> Any:
        return {"source": data} if isinstance(data, str) else data

    def identity(self) -> dict[str, Any]:
        """Return the file's hash and the options that differ from their defaults.

        Raises
        ------
        UsageError: the hash is not known yet.
        """
        if self.sha256 is None:
            raise UsageError("model.weights: the run id needs the hash of the file; give sha256, or plan a study")
        return super().identity()
