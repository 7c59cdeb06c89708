"""Find and hash weight files on this machine, and fetch torchvision weights on request."""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from aimlib.datasets.locations import data_folder
from aimlib.errors import DataError, UsageError, did_you_mean
from aimlib.weights.config import WeightsConfig

_OF_TORCHVISION = re.compile(r"(\w+)_Weights\.(\w+)|DEFAULT")
_FOLDER = "weights"


def is_of_torchvision(source: str) -> bool:
    """Return whether `source` names torchvision weights rather than a file."""
    return _OF_TORCHVISION.fullmatch(source) is not None


def resolved(config: WeightsConfig, architecture: str) -> WeightsConfig:
    """Return the configuration with the hash of its file, and with torchvision's exact name.

    Parameters
    ----------
    architecture : torchvision's name for the network, needed for ``DEFAULT``; any string for a network that is not from
        torchvision.

    Raises
    ------
    DataError: the file is not on this machine, or its hash differs from the hash in the configuration.
    UsageError: torchvision has no weights with this name, or has no weights for this network.
    """
    if is_of_torchvision(config.source):
        config = config.model_copy(update={"source": str(_entry(config.source, architecture))})
    return config.model_copy(update={"sha256": _hash(find(config))})


def find(config: WeightsConfig) -> Path:
    """Return the file on this machine; if the configuration states a hash, the file has been compared with it.

    Raises
    ------
    DataError: the file is not on this machine, or its hash differs from the stated hash.
    """
    places = _places(config.source)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        looked = " and ".join(str(place) for place in places)
        fetch = (
            f"run `ablate data weights {config.source}` on a machine with network access, or copy the file there"
            if is_of_torchvision(config.source)
            else "runs do not download files: download it, and set the file's path"
            if "://" in config.source or ":/" in config.source
            else "correct the path, or copy the file there"
        )
        raise DataError(f"{config.source}: no such file; looked for {looked}; {fetch}")
    if config.sha256 is not None and (found := _hash(path)) != config.sha256:
        raise DataError(
            f"{path}: has sha256 {found[:16]}…, but the configuration states {config.sha256[:16]}…; copy the same "
            f"file to every machine, or correct model.weights.sha256"
        )
    return path


def _places(source: str) -> tuple[Path, ...]:
    """Return the possible locations of a file: those of the study or of torchvision's cache, and the data folder."""
    if not is_of_torchvision(source):
        path = Path(source).expanduser()
        return path, data_folder(_FOLDER) / path.name
    name = Path(urlparse(url(source)).path).name
    return cache_of_torchvision() / name, data_folder(_FOLDER) / name


def cache_of_torchvision() -> Path:
    """Return the folder in which torchvision keeps downloaded files: ``$TORCH_HOME/hub/checkpoints``."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def url(source: str) -> str:
    """Return the URL from which torchvision downloads the weights `source`; raises UsageError like `resolved`."""
    address: str = _entry(source, "").url
    return address


def download(source: str, base_url: str | None = None) -> Path:
    """Fetch torchvision weights into torchvision's cache, and return the file; an existing file is not fetched again.

    Parameters
    ----------
    source : an exact name, e.g. ``ResNet18_Weights.IMAGENET1K_V1``.
    base_url : URL of a folder with torchvision's files; None: torchvision's own server.

    Raises
    ------
    UsageError: torchvision has no weights with this name.
    DataError: the server does not respond, or returns a different file.
    """
    from torch.hub import download_url_to_file  # noqa: PLC0415

    if not is_of_torchvision(source) or source == "DEFAULT":
        raise UsageError(f"{source}: is not an exact torchvision name; use one such as ResNet18_Weights.IMAGENET1K_V1")
    address = url(source)
    name = Path(urlparse(address).path).name
    target = cache_of_torchvision() / name
    if target.is_file():
        return target
    if base_url is not None:
        address = f"{base_url.rstrip('/')}/{name}"
    hashed = re.search(r"-([0-9a-f]{8,})\.", name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(address, str(target), hashed[1] if hashed else None, progress=False)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{address}: cannot be fetched: {error}; try again, or copy the file to {target}") from error
    return target


def _entry(source: str, architecture: str) -> Any:
    """Return torchvision's entry for weights, given their name."""
    from torchvision import models  # noqa: PLC0415 -- takes seconds

    if source == "DEFAULT":
        try:
            return models.get_model_weights(architecture).DEFAULT
        except ValueError:
            raise UsageError(
                f"DEFAULT: {architecture!r} is not a torchvision network; set a file, or use the backbone "
                f"{{name: torchvision, architecture: ...}}"
            ) from None
    try:
        return models.get_weight(source)
    except (ValueError, AttributeError, KeyError, TypeError):
        known = [str(entry) for name in models.list_models(module=models) for entry in models.get_model_weights(name)]
        raise UsageError(
            f"{source}: torchvision has no weights with this name; {did_you_mean(source, known)}to use a file, write "
            f"its path, e.g. ./{source}"
        ) from None


def _hash(path: Path) -> str:
    state = path.stat()
    return _hashed(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _hashed(path: Path, _changed: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
