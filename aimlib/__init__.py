"""Networks with memory (AiM), their data and their training.

Importing this package is cheap and imports no torch: `aimlib.config`, `aimlib.records`, `aimlib.registry`
and `aimlib.seeding` serve programs that only read results or list plugins. What builds or trains
networks lives in the subpackages and imports torch there.
"""

__version__ = "0.1.0"
