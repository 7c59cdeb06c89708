"""Names of the files and folders of a study directory, and the version of their format.

A study directory contains

=====================================  =====================================================================
``study.json``                         the plan: arms with role and configuration, seeds, run ids
``runs/<run_id>.parquet``              one settled run: finished, diverged or pruned
``failures/<run_id>.<nnn>.parquet``    one failed attempt, numbered from 000; a later one may still settle
``segments/<digest>.parquet``          many settled runs, compacted
``models.parquet``                     one row per arm: layers, parameters, multiply-adds
``analysis_plan.json``                 what decides, frozen before the first run
``plans/<nnn>.json``                   every plan that the study ever had
``damaged/<folder>-<name>``            damaged files that were set aside
``mark``                               random text: is this path the same directory on another machine?
``live/<session>.json``                what a driver says is running; no result
``references/<kind>.<...>.json``       the reference step, device by device; no result
``images/<data fingerprint>.parquet``  test images: number, name, label
``ledger/<session>.<nnnn>``            hashes of settled rows, see `aimlib.records.ledger`
``networks/<run_id>.<...>.safetensors`` the trained network of a run, if it is kept
``code/<hash>.json``                   own code of a component: a record, which nothing imports
``unblinded/<nnn>.json``               when test measures were shown before the verdict
=====================================  =====================================================================
"""

from __future__ import annotations

import re

SCHEMA_VERSION, OLDEST_VERSION = 3, 2
"""Version of the store's format, which is in no run id, and the oldest that is read. Readers refuse newer ones.
3: files have checksums, and rows contain the text that their run id hashes."""
WITH_CHECKSUMS = 3
"""Version from which every file has checksums."""

STUDY_FILE = "study.json"
RUNS, FAILURES, SEGMENTS, IMAGES = "runs", "failures", "segments", "images"
MODELS_FILE = "models.parquet"
ANALYSIS_PLAN = "analysis_plan.json"
CLAIM_FILE = "claim.json"
"""Copy of the claim under test, if it is a file of the user's."""
MEASUREMENTS_FILE = "measurements.json"
CHECKPOINTS, LOCKS, PLANS, LIVE = "checkpoints", "locks", "plans", "live"
LOGS = "logs"
"""What runs wrote: ``<run_id>.<nnn>.jsonl`` for every attempt that wrote anything; studies of earlier versions have no
such files."""
UNBLINDED = "unblinded"
REFERENCES = "references"
NETWORKS = "networks"
CODE = "code"
FILE_NAMES = {
    RUNS: re.compile(r"[0-9a-f]{20}\.parquet"),
    SEGMENTS: re.compile(r"[0-9a-f]{20}\.parquet"),
    FAILURES: re.compile(r"([0-9a-f]{20})\.([0-9]{3,})\.parquet"),
    IMAGES: re.compile(r"[0-9a-f]{20}\.parquet"),
    PLANS: re.compile(r"[0-9]{3,}\.json"),
    UNBLINDED: re.compile(r"[0-9]{3}\.json"),
}
"""Names that every version gave to files of these folders. Other files there are strays, which nothing reads, such as
copies that a file manager or a synchronization made. A row under such a name counts as missing; the ledger shows it."""


def release_to_read(package: object) -> str:
    """Return which release reads a file of another version, for a message.

    Parameters
    ----------
    package : version of this package that the file states; None or anything else if it states none.
    """
    if isinstance(package, str) and re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,40}", package):
        return f"read it with aim-ablations {package}, which wrote it (pip install 'aim-ablations=={package}')"
    return "read it with the release of aim-ablations that wrote it"
