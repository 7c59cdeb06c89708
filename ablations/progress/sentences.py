"""What a picture says in a sentence."""

from __future__ import annotations

from ablations.progress.formatting import duration
from ablations.progress.picture import Picture
from aimlib.errors import counted

CAUTION = "accuracies are of validation images; those of test images wait for the verdict"
_QUIET = 180.0
"""Seconds without an event of a run after which that is worth a word."""


def tally(picture: Picture) -> list[str]:
    """Return how many runs are in which state, and since when, as parts of one sentence."""
    parts = [f"{picture.count('settled'):,} of {counted(picture.count('runs'), 'run')} settled"]
    for state, word in (
        ("running", "running"),
        ("waiting", "waiting"),
        ("failed", "failed"),
        ("diverged", "diverged"),
        ("paused", "paused"),
        ("stopped", "stopped"),
        ("held", "elsewhere"),
    ):
        if (number := picture.count(state)) or state in ("running", "failed"):
            parts.append(f"{number:,} {word}")
    if picture.elapsed:
        parts.append(f"{duration(picture.elapsed)} so far")
    if picture.quiet is not None and picture.quiet > _QUIET and picture.running:
        parts.append(f"no news of any run for {duration(picture.quiet)}")
    return parts


def summary(picture: Picture) -> str:
    """Return the state of all runs in one line."""
    parts = tally(picture)
    if picture.left is not None and not picture.complete:
        parts.append(f"about {duration(picture.left)} left")
    return ", ".join(parts)
