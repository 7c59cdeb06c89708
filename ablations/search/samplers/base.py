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
    replays : whether the sampler proposes bitwise identical trials if it is started again with the same seed and
        receives the same outcomes in the same order. If not, each batch is recorded before it is computed, a resumed
        search uses the recorded proposals, and each further proposal comes from a new sampler with its own seed. Set
        this to False if proposals depend on the last bits of linear algebra, which differ between machines.
    infeasible : how a configuration that violates a constraint is reported to Optuna. failed: the sampler does not
        support constraints and ignores the trial; pruned, complete: the sampler reads the violation from trials in this
        state. A complete trial needs a value: it gets the worst accuracy so far.
    finite : whether the sampler enumerates the space, which must then be finite.
    relative_to : kinds of parameters that the sampler models; other parameters are drawn independently and at random,
        as are parameters that some trials do not have. Empty if the sampler models all parameters.
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
        """Return Optuna's sampler, initialized with this seed."""

    @property
    def options(self) -> dict[str, Any]:
        """The options set in the study; all other options have Optuna's defaults."""
        return {name: getattr(self.config, name) for name in sorted(self.config.model_fields_set)}
