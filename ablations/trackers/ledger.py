"""Which epochs a tracker has: so that a run that is resumed from its checkpoint continues and doubles no row."""

from __future__ import annotations

from pathlib import Path

from aimlib.paths import make_folder


class Ledger:
    """The last epoch of every run that a tracker was told, on disk: a file per run, whichever driver computes it.

    Parameters
    ----------
    directory : folder of the ledger, created where missing.
    """

    def __init__(self, directory: Path) -> None:
        make_folder(directory)
        self._directory = directory

    def last(self, run_id: str) -> int:
        """Return the last epoch; 0 where there is none."""
        try:
            return int((self._directory / run_id).read_text(encoding="ascii") or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def put(self, run_id: str, epoch: int) -> None:
        """Note that the tracker has this epoch."""
        (self._directory / run_id).write_text(str(epoch), encoding="ascii")
