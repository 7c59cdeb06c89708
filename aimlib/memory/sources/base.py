"""The base class of all memory sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from torch import Tensor, nn

from aimlib.component import ComponentConfig

Size = Annotated[int, Field(ge=1)]

_WIDE = 2**15
"""Number of values from which a memory counts as wide; the post's memory has 50,176 values."""


def _with_floats(schema: dict[str, Any]) -> None:
    """Add the key `floats`, the alternative way to set the size, to a JSON Schema."""
    schema["properties"]["floats"] = {
        "type": "integer",
        "minimum": 1,
        "description": "Size of the memory as a number of values, instead of `channels`; must fill whole channels of "
        "rows x columns.",
    }


class MemoryConfig(ComponentConfig):
    """Size of a memory: channels x rows x columns values. The defaults give the post's 50,176 values.

    ``floats: 50176`` instead of `channels` sets the size as a number of values, which must fill whole channels of rows
    x columns.
    """

    model_config = ConfigDict(json_schema_extra=_with_floats)

    channels: Size = 1024
    """Number of channels in the memory; alternatively, `floats` sets the number of values."""
    rows: Size = 7
    """Number of rows in the memory."""
    columns: Size = 7
    """Number of columns in the memory."""
    initial_scale: Annotated[float, Field(ge=0)] = 1.0
    """Factor by which the initial values are multiplied. With 1, the initial values have the spread documented for the
    memory source."""
    source_lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor by which the learning rate of the source's parameters is multiplied."""

    @model_validator(mode="before")
    @classmethod
    def _size_in_floats(cls, data: Any) -> Any:
        """Convert `floats` to channels, so that both ways of writing the size give the same run id."""
        if not isinstance(data, dict) or "floats" not in data:
            return data
        floats, rest = data["floats"], {key: value for key, value in data.items() if key != "floats"}
        if "channels" in rest:
            raise ValueError("floats and channels both set the size of the memory; remove one of them")
        sides = [rest.get(key, cls.model_fields[key].default) for key in ("rows", "columns")]
        if not all(isinstance(number, int) and number >= 1 for number in (floats, *sides)):
            raise ValueError(f"floats: must be the number of values in the memory, a positive integer; got {floats!r}")
        positions = sides[0] * sides[1]
        if floats % positions:
            near = max(1, round(floats / positions)) * positions
            raise ValueError(
                f"floats: {floats} values do not fill whole channels of {sides[0]} x {sides[1]}; use {near}, the "
                f"nearest number that does, or change rows and columns"
            )
        return {**rest, "channels": floats // positions}

    @property
    def values(self) -> int:
        """Number of values in the memory."""
        return self.channels * self.rows * self.columns

    @property
    def wide(self) -> bool:
        """Whether convolutions read the memory by matrix products where these are faster (`aimlib.memory.readers`)."""
        return self.values >= _WIDE

    def identity(self) -> dict[str, Any]:
        """Return the name, the version, the non-default options and, for a wide memory, how it is read.

        Products and convolutions round differently. Runs with wide memories that were computed before matrix products
        were used therefore have different ids; all other runs keep their ids.
        """
        return super().identity() | ({"read_by": "products"} if self.wide else {})


class MemorySource(nn.Module, ABC):
    """Base class of the family `aimlib.memories`: a module without input whose output is the memory.

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
        batch : number of images in the batch; needed only by sources whose memory differs between images.

        Returns
        -------
        [1 or batch, channels, rows, columns]; the first dimension is 1 if the memory is the same for every image.
        """

    @property
    @abstractmethod
    def degrees_of_freedom(self) -> int:
        """Number of values that can vary independently."""
