"""`WeightsConfig`: from which file a network starts, and how the file is read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from aimlib.component import Frozen, Names, local
from aimlib.errors import UsageError


class WeightsConfig(Frozen):
    """A file with parameters and buffers; in a study, a plain string is read as its `source`.

    The run id contains the SHA-256 hash of the file, but not its name or location.
    """

    source: str = local(
        ...,
        "A file (safetensors, or a state dict that torch saved) relative to the study, or a torchvision name such as "
        "ResNet18_Weights.IMAGENET1K_V1; DEFAULT selects the weights that torchvision recommends for the backbone.",
        min_length=1,
    )
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    """Hash of the file. The plan fills it in; if the study sets it, any other file is refused."""
    key: str | None = None
    """Where to find the state dict if the file nests it inside other mappings, e.g. state_dict."""
    prefix: str = ""
    """Prefix that is removed from the names in the file, e.g. ``module.``; names without the prefix are not read."""
    leave_out: Names = ()
    """Names or patterns (``fc.*``) that are not loaded; the network's values with these names start as they would
    without a file."""

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
            raise UsageError("model.weights: the run id needs the hash of the file; set sha256, or plan a study")
        return super().identity()
