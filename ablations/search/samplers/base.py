"""The interface of a sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aimlib.component import ComponentConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

Infeasible = Literal["failed", "pruned", "complete"]


class Sampler(ABC):
    """Builds an Optuna sampler.

    Attributes
    ----------
    replays : whether the sampler, started again with the same seed and given the same outcomes in the same order,
        proposes the same trials bit by bit. If not, each batch is recorded before it is computed, a resumed search
        takes the recorded proposals, and each further proposal comes from its own sampler with its own seed.
        Set it to False if proposals depend on the last bits of linear algebra, which differ between machines.
    infeasible : how a configuration that violates a constraint is reported to Optuna. failed: the sampler does not know
        constraints and ignores the trial; pruned, complete: the sampler reads the violation from trials in this
        state. A complete trial needs a value: it gets the worst accuracy so far.
    finite : whether it enumerates the space, which must then be finite.
    relative_to : kinds of parameters that it models; others are drawn independently and at random, as are parameters
        that some trials lack. Empty if it models all of them.
    requires, extra : module that must be installed, and the extra of this package that installs it.
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    replays: ClassVar[bool] = True
    infeasible: ClassVar[Infeasible] = "failed"
    finite: ClassVar[bool] = False
    relative_to: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    source: ClassVar[str] = ""

    def __init__(self, config: ComponentConfig) -> None:
        self.config = config

    @abstractmethod
    def build(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler, started from this seed."""

    @property
    def options(self) -> dict[str, Any]:
        """The options given in the study; all others have Optuna's defaults."""
        return {name: getattr(self.config, name) for name in sorted(self.config.model_fields_set)}
