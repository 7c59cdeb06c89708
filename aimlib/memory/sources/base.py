"""The base of all memory sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from torch import Tensor, nn

from aimlib.component import ComponentConfig

Size = Annotated[int, Field(ge=1)]

_WIDE = 2**15
"""Number of values above which a memory is wide; the post's has 50,176."""


def _with_floats(schema: dict[str, Any]) -> None:
    """Add to a JSON Schema the other way to give the size."""
    schema["properties"]["floats"] = {
        "type": "integer",
        "minimum": 1,
        "description": "Size of the memory as a number of values, in place of `channels`; whole channels of rows x "
        "columns.",
    }


class MemoryConfig(ComponentConfig):
    """Size of a memory: channels x rows x columns values. The defaults are the post's 50,176.

    ``floats: 50176`` in place of `channels` gives the size as a number of values, in whole channels of rows x columns.
    """

    model_config = ConfigDict(json_schema_extra=_with_floats)

    channels: Size = 1024
    """Channels of the memory; `floats` gives its size in values instead."""
    rows: Size = 7
    """Rows of the memory."""
    columns: Size = 7
    """Columns of the memory."""
    initial_scale: Annotated[float, Field(ge=0)] = 1.0
    """Factor on the initial values. At 1 a memory has the initial spread that its source documents."""
    source_lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the learning rate of the source's parameters."""

    @model_validator(mode="before")
    @classmethod
    def _size_in_floats(cls, data: Any) -> Any:
        """Convert `floats` to channels, so that both ways of writing are one experiment."""
        if not isinstance(data, dict) or "floats" not in data:
            return data
        floats, rest = data["floats"], {key: value for key, value in data.items() if key != "floats"}
        if "channels" in rest:
            raise ValueError("floats and channels both give the size of the memory; remove one of them")
        sides = [rest.get(key, cls.model_fields[key].default) for key in ("rows", "columns")]
        if not all(isinstance(number, int) and number >= 1 for number in (floats, *sides)):
            raise ValueError(f"floats: give the number of values of the memory, a positive integer; got {floats!r}")
        positions = sides[0] * sides[1]
        if floats % positions:
            near = max(1, round(floats / positions)) * positions
            raise ValueError(
                f"floats: {floats} values do not fill whole channels of {sides[0]} x {sides[1]}; the nearest number "
                f"that does is {near}, or change rows and columns"
            )
        return {**rest, "channels": floats // positions}

    @property
    def values(self) -> int:
        """Number of values in the memory."""
        return self.channels * self.rows * self.columns

    @property
    def wide(self) -> bool:
        """Whether convolutions read it by matrix products if these are faster (`aimlib.memory.readers`)."""
        return self.values >= _WIDE

    def identity(self) -> dict[str, Any]:
        """Return name, version and non-default options, and for a wide memory also the method of reading.

        Products and convolutions round differently. Runs with wide memories from before matrix products were used
        therefore have different ids, and all other runs keep theirs.
        """
        return super().identity() | ({"read_by": "products"} if self.wide else {})


class MemorySource(nn.Module, ABC):
    """Base of the family `aimlib.memories`: a module without input whose output is the memory.

    A subclass declares its initial values with `aimlib.memory.initialization.declare`.
    """

    Config = MemoryConfig

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, batch: int) -> Tensor:
        """Return the memory before any update.

        Parameters
        ----------
        batch : number of images in the batch; needed only by a source whose memory differs between images.

        Returns
        -------
        [1 or batch, channels, rows, columns]; 1 if the memory is the same for every image.
        """

    @property
    @abstractmethod
    def degrees_of_freedom(self) -> int:
        """Number of values that can vary independently."""
