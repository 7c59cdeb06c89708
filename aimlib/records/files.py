"""Names of the files and folders in a study directory, and the version of their format.

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
``code/<hash>.json``                   a component's own code: a record that is never imported
``unblinded/<nnn>.json``               when test measures were shown before the verdict
=====================================  =====================================================================
"""

from __future__ import annotations

import re

SCHEMA_VERSION, OLDEST_VERSION = 3, 2
"""Version of the store's format, and the oldest version that can be read. The version is not part of any run id.
Readers refuse newer versions. Since version 3, files have checksums, and rows contain the text that their run id
hashes."""
WITH_CHECKSUMS = 3
"""First version in which every file has checksums."""

STUDY_FILE = "study.json"
RUNS, FAILURES, SEGMENTS, IMAGES = "runs", "failures", "segments", "images"
MODELS_FILE = "models.parquet"
ANALYSIS_PLAN = "analysis_plan.json"
CLAIM_FILE = "claim.json"
"""Copy of the claim under test, if the user provided it as a file."""
MEASUREMENTS_FILE = "measurements.json"
CHECKPOINTS, LOCKS, PLANS, LIVE = "checkpoints", "locks", "plans", "live"
LOGS = "logs"
"""Folder with the output of runs: ``<run_id>.<nnn>.jsonl`` for every attempt that produced output; studies from earlier
versions have no such files."""
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
"""Patterns for the file names that all versions have used, by folder. Other files in these folders, such as copies made
by a file manager or a synchronization tool, are never read. A row that exists only in such a file counts as missing,
which the ledger shows."""


def release_to_read(package: object) -> str:
    """Return a text, for a message, on which release can read a file from a different version.

    Parameters
    ----------
    package : version of this package that the file states; anything else, such as None, if the file does not state a
        version.
    """
    if isinstance(package, str) and re.fullmatch(r"[0-9][0-9A-Za-z.+-]{0,40}", package):
        return f"read it with aim-ablations {package}, which wrote it (pip install 'aim-ablations=={package}')"
    return "read it with the release of aim-ablations that wrote it"
