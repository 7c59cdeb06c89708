"""Results of the reference step: one small file for each device of each kind, not part of the study's results.

Files are named ``references/<kind>.<device>.<digest>.json``. Only the names are compared, so listing the folder is
enough; the content is for people. See `ablations.execution.device_references`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablations.store.folder import Folder
from aimlib.records import REFERENCES

_NAME = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{16})\.([0-9a-f]{16})\.json")


@dataclass(frozen=True)
class StoredReference:
    """The result of the reference step on one device.

    Attributes
    ----------
    kind : 16 hexadecimal digits; only results of the same kind are comparable.
    device : hash of the device's identity.
    digest : hash of the bits that the reference step computed.
    """

    kind: str
    device: str
    digest: str

    @property
    def name(self) -> str:
        """The path of the file in the study."""
        return f"{REFERENCES}/{self.kind}.{self.device}.{self.digest}.json"


def device_key(identity: str) -> str:
    """Return the hash that identifies a device in file names."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def listed(folder: Folder) -> list[StoredReference]:
    """Return all stored results; files with other names are ignored."""
    names = folder.names(REFERENCES, _NAME)
    return [StoredReference(*match.groups()) for name in names if (match := _NAME.fullmatch(name))]


def keep(folder: Folder, reference: StoredReference, content: Mapping[str, Any]) -> None:
    """Store a result unless it is already stored."""
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    folder.create_first([reference.name], lambda path: path.write_text(text, encoding="utf-8"))


def described(folder: Folder, reference: StoredReference) -> str:
    """Return the device's name for messages, or its hash if the file is damaged."""
    try:
        name = json.loads(folder.read(reference.name) or b"{}").get("name")
    except (ValueError, RecursionError, AttributeError):
        name = None
    return name if isinstance(name, str) and name else f"device {reference.device}"
