"""A synthetic study about something other than memory, with its own controls."""

from __future__ import annotations

from synthetic_study import SCOPE, FakeArm

WHAT = "squeeze-and-excitation"
WIDER = "More than its additional parameters?"
FIXED = "More than a gate that never learns?"
OWN = {
    "claim": None,
    "what": WHAT,
    "scope": {**SCOPE, "dataset": "digits", "classes": 10, "backbone": "small_resnet", "protocol": "custom"},
    "images": 2000,
}
"""Fields of `FakeStudy`."""


def arms(gain: float = 0.04) -> list[FakeArm]:
    """Return a baseline, two controls in the study's own order, and a treatment that exceeds all of them by `gain`."""
    return [
        FakeArm("plain", "baseline", 0.5),
        FakeArm("fixed gate", "control", 0.5, "gated", question=FIXED),
        FakeArm("wider", "control", 0.5, "plain", question=WIDER),
        FakeArm("gated", "aim", 0.5 + gain),
    ]
