"""Removal of secrets from messages and output of other programs, before this text is stored or shown.

Four kinds of secret are removed: values of environment variables whose names suggest secrets, users and passwords in
URLs, signatures of presigned URLs, and tokens with a known format. A secret of any other kind is not removed.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

HIDDEN = "(not shown)"
_WORD = r"token|password|passwd|passphrase|secret|credentials?|api_?key|access_?key|account_?key|private_?key"
SECRET_NAME = re.compile(rf"(^|_)({_WORD})($|_)", re.IGNORECASE)
"""Matches the name of an option that contains a secret."""
_SECRET_VARIABLE = re.compile(rf"(^|_)({_WORD}|pass|pwd|auth|connection_string)($|_)|_key$", re.IGNORECASE)
_PLACE_OR_KIND = re.compile(r"_(path|file|dir|folder|sock|mode|type|url|uri|name|id|ttl|expir\w*)$", re.IGNORECASE)
_FOLDERS = frozenset({"PWD", "OLDPWD"})
"""Variables that every shell sets; their names suggest passwords, but they contain folder paths."""
_LEAST = 6
"""Minimum number of characters of a secret; a shorter value of a variable is probably a word or a number."""
_LOGIN = re.compile(r"(?<=://)[^/@\s'\"<>]+@")
_QUERY = re.compile(
    rf"(?<=[?&])((?:x-amz-|x-goog-)?(?:\w*_)?(?:signature|sig|credential|security-token|{_WORD}|key)=)[^&\s'\"<>]+",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"((?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key|access[_-]?token|"
    r"auth[_-]?token|shared[_-]?access[_-]?(?:key|signature))"
    r"[\"']?\s*[=:]\s*[\"']?)(?!\(not shown\))[^\s'\",;&)}\]]{6,}",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.+/=~-]{8,}", re.IGNORECASE)
_FORMS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS access key ids
    r"|\bhf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}"
    r"|\bAIza[\w-]{35}|\bya29\.[\w.-]{20,}|\bGOCSPX-[\w-]{20,}"  # Google
    r"|\bpypi-[\w-]{20,}|\bnpm_[A-Za-z0-9]{20,}|\bdckr_pat_[\w-]{20,}"
    r"|\bsk-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}|\bwandb_v\d_\w{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return text with secrets replaced by `HIDDEN`.

    Parameters
    ----------
    environment : variables whose secrets must not be shown; by default, the environment of this process.
    """
    known = _pattern(tuple(_values(os.environ if environment is None else environment)))
    if known is not None:
        text = known.sub(HIDDEN, text)
    text = _FORMS.sub(HIDDEN, _QUERY.sub(rf"\1{HIDDEN}", without_login(text)))
    # Known formats come first, because a private key contains spaces.
    return _BEARER.sub(rf"\1 {HIDDEN}", _ASSIGNED.sub(rf"\1{HIDDEN}", text))


def without_login(text: str) -> str:
    """Return text with the user and password removed from its URLs."""
    return _LOGIN.sub("", text)


def _values(environment: Mapping[str, str]) -> Iterable[str]:
    for name, value in environment.items():
        if _is_secret(name) and len(value) >= _LEAST:
            if not (
                value.startswith("/") and Path(value).exists()
            ):  # a URL that says where a secret is stored, but does not contain the secret
                yield value
        elif "://" in value and "@" in value:
            for login in _LOGIN.findall(value):
                password = login[:-1].partition(":")[2]
                if len(password) >= _LEAST:
                    yield password


@functools.lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    looks_secret = _SECRET_VARIABLE.search(name) is not None and _PLACE_OR_KIND.search(name) is None
    return looks_secret and name not in _FOLDERS


@functools.lru_cache(maxsize=8)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str] | None:
    distinct = sorted({*values, *(value.strip() for value in values)} - {""}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, distinct))) if distinct else None
