"""Your own placement, next to its study: no package and no installation are needed."""

from choosing import every_nth

from aimlib.component import ComponentConfig, Integer
from aimlib.placements import Placement
from aimlib.registry import placements


@placements.register("thinned_out")
class ThinnedOut(Placement):
    """Every n-th of the layers that can read."""

    source = "example of this package"

    class Config(ComponentConfig):
        """Options, which a study gives beside the name."""

        n: int = 2

    search_space = {"n": Integer(1, 4)}

    def reads(self, layers):
        """Return the names of the layers that read."""
        return every_nth([layer.name for layer in layers], self.config.n)
