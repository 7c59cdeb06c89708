"""What a stored plan says of the photos that a study leaves out, written by the planner and read by the analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aimlib.errors import counted
from aimlib.records.escaping import on_one_line, shortened

_MOST_REASONS = 5
_LONGEST = 80


@dataclass(frozen=True)
class ExclusionSummary:
    """The photos that some arms leave out.

    Attributes
    ----------
    arms : names of the arms; empty if it is all of them.
    file, sha256 : name and hash of the list.
    images : number of excluded images by split.
    reasons : number of excluded images by kind of reason, the most frequent first.
    """

    arms: tuple[str, ...]
    file: str
    sha256: str
    images: Mapping[str, int]
    reasons: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {**asdict(self), "arms": list(self.arms)}

    def sentence(self) -> str:
        """Return how many images are excluded and why, in one sentence without its full stop."""
        parts = [f"{count:,} {_WORDS.get(split, split)}" for split, count in self.images.items() if count]
        total = sum(self.images.values())
        noun, verb = ("image", "is") if total == 1 else ("images", "are")
        kinds = [f"{shortened(on_one_line(kind), _LONGEST)} ({count:,})" for kind, count in self.reasons.items()]
        more = len(kinds) - _MOST_REASONS
        why = ", ".join(kinds[:_MOST_REASONS]) + (f" and {counted(more, 'more reason')}" if more > 0 else "")
        of = f" in {counted(len(self.arms), 'arm')} ({', '.join(map(on_one_line, self.arms[:3]))})" if self.arms else ""
        return (
            f"{' and '.join(parts)} {noun} {verb} excluded{of}: {why}; the list is {on_one_line(self.file)} "
            f"(SHA-256 {self.sha256[:16]}…)"
        )


_WORDS = {"train": "training"}


def summary_from(document: Any) -> ExclusionSummary:
    """Return what a stored plan says.

    Raises
    ------
    ValueError: it does not have this form.
    """
    try:
        images = {str(split): int(count) for split, count in document["images"].items()}
        reasons = {str(kind): int(count) for kind, count in document["reasons"].items()}
        arms = tuple(map(str, document["arms"]))
        return ExclusionSummary(arms, str(document["file"]), str(document["sha256"]), images, reasons)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no summary of excluded images: {error}") from error
