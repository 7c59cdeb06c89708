"""What the page may show from a configuration or a message: no paths, users, logins or addresses.

Host names are shown only on request.

The rule is the same as for trackers: options that only specify where something is stored, and values of keys that look
like secrets, are not shown. Messages are free text, so anything that looks like a path or an address is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from aimlib.records.escaping import visible
from aimlib.records.redaction import HIDDEN, SECRET_NAME, without_secrets
from analysis.reading.factors import options

_LOCAL = frozenset({"root", "cache", "exclude"})
"""Options that components declare local because they name a folder or a file. A test compares this list with them."""
_PLACE = re.compile(r"(?:^|_)(?:root|cache|path|paths|dir|directory|folder|file|filename|home|url|uri)$", re.IGNORECASE)
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_QUOTED = re.compile(r"""(?P<quote>['"])(?P<path>(?:~|[A-Za-z]:[\\/]|\\\\|/)[^'"\n]*)(?P=quote)""")
_PATH = re.compile(r"(?<![\w.<)\]])(?:~[\w.-]*[\\/]|[A-Za-z]:[\\/]|\\\\|/(?=[\w.~-]))[^\s'\"<>|:;,()\[\]]*")
_ACCOUNT = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\b")
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b")


def is_local(option: str) -> bool:
    """Return whether an option names a place, judging by the last part of its key path."""
    name = option.rpartition(".")[2]
    return name in _LOCAL or bool(_PLACE.search(name))


def public_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in a configuration that may be shown, by key path; secrets have the value `HIDDEN`."""
    found = {option: value for option, value in options(config).items() if not is_local(option)}
    values = {option: public_value(option, value) for option, value in found.items()}
    # Every run has a model and a training section, so neither needs a line.
    return {option: value for option, value in values.items() if value is not True or "." in option}


def public_value(option: str, value: Any) -> Any:
    """Return an option's value, or `HIDDEN` if the option or a part of its path is named like a secret."""
    if any(SECRET_NAME.search(part) for part in option.split(".")):
        return HIDDEN
    if isinstance(value, str):
        return public_text(value)
    return value if value is None or isinstance(value, (bool, int, float)) else True  # a part without a name


def public_text(text: str, hosts: Iterable[str] = ()) -> str:
    """Return a message with paths, logins, addresses and the given host names replaced.

    Python files keep their names, so that tracebacks stay readable.
    """
    text = without_secrets(_URL.sub("(address)", visible(text)), {})
    text = _QUOTED.sub(lambda found: found["quote"] + _without_folders(found["path"]) + found["quote"], text)
    text = _PATH.sub(lambda found: _without_folders(found[0]), text)
    text = _ADDRESS.sub("(address)", _ACCOUNT.sub("(address)", text))
    for host in sorted({host for host in hosts if host}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(host)}(?![\w-])", "(host)", text)
    return text


def _without_folders(path: str) -> str:
    name = re.split(r"[\\/]", path)[-1]
    return name if name.endswith(".py") and len(name) < len(path) else "(path)"
