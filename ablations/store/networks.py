"""Files of trained networks: ``networks/<run_id>.<digest>.safetensors``, written before the row that contains the hash.

A writer that is killed before it writes the row leaves a file to which no row refers; `clean` removes the file once the
run is settled.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection

from ablations.store.folder import Folder
from aimlib.errors import StoreError
from aimlib.records import NETWORKS

NAME = re.compile(r"([0-9a-f]{20})\.([0-9a-f]{16})\.safetensors")


def name_of(run_id: str, digest: str) -> str:
    """Return the path of a network's file in its study."""
    return f"{NETWORKS}/{run_id}.{digest[:16]}.safetensors"


def keep(folder: Folder, run_id: str, digest: str, content: bytes) -> None:
    """Store a network; files of the same run with different content are kept as well."""
    folder.replace(name_of(run_id, digest), lambda path: path.write_bytes(content))


def read(folder: Folder, run_id: str, digest: str) -> bytes:
    """Return the content of a network's file.

    Raises
    ------
    StoreError: the file is missing or damaged.
    """
    name = name_of(run_id, digest)
    content = folder.read(name)
    where = folder.root / name
    if content is None:
        raise StoreError(
            f"{where}: is missing, although the run's row refers to it; copy it from the study that computed the run, "
            f"or compute the run again in a new study with keep: best"
        )
    if hashlib.sha256(content).hexdigest() != digest:
        raise StoreError(
            f"{where}: is damaged: its content does not match the hash in the run's row; restore it from a copy, "
            f"or compute the run again in a new study with keep: best"
        )
    return content


def unclaimed(
    folder: Folder, settled: Collection[str], digests: Callable[[Collection[str]], Collection[str]]
) -> list[str]:
    """Return the files of settled runs to which no row refers.

    Only a run with several files can have such a file: results of attempts on different devices are not bitwise
    identical.

    Parameters
    ----------
    digests : function that returns the hashes in the rows of the given runs.
    """
    found = [match for name in folder.names(NETWORKS, NAME) if (match := NAME.fullmatch(name))]
    several = {run_id for run_id, number in Counter(match[1] for match in found).items() if number > 1}
    runs = several.intersection(settled)
    named = {digest[:16] for digest in digests(runs)} if runs else set()
    return [f"{NETWORKS}/{match[0]}" for match in found if match[1] in runs and match[2] not in named]
