"""Folders in each kind of object storage, on servers on this machine."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from types import ModuleType

import azure_server
import google_server
import pytest
import s3_server

STORAGES = ("bucket", "google_bucket", "azure_container")
"""The fixtures that return the URL of a bucket."""


def served(server: ModuleType, scheme: str, variables: str) -> Iterator[str]:
    """Run a server, replace this process's variables with those for the server's clients, and yield a bucket's URL."""
    if (reason := server.missing()) is not None:
        pytest.skip(reason)
    with server.running() as environment, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(variables)]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield f"{scheme}://{server.BUCKET}"


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """Return the URL of a bucket on a local server; this process and its children can use the bucket."""
    yield from served(s3_server, "s3", "AWS_")


@pytest.fixture(scope="session")
def google_bucket() -> Iterator[str]:
    """Return the URL of a bucket on a Google Cloud Storage emulator."""
    yield from served(google_server, "gs", "STORAGE_EMULATOR_HOST")


@pytest.fixture(scope="session")
def azure_container() -> Iterator[str]:
    """Return the URL of a container on an Azure Blob Storage emulator."""
    yield from served(azure_server, "az", "AZURE_STORAGE_")


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty folder in a bucket; local copies of checkpoints stay in the test's own folder."""
    return folder_of(request, "bucket")


@pytest.fixture(params=STORAGES)
def any_remote(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty folder, for each kind of object storage."""
    return folder_of(request, request.param)


@pytest.fixture(params=[STORAGES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in STORAGES[1:])])
def remote_of_processes(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty folder, for tests that start processes; only the test with S3 is not slow."""
    return folder_of(request, request.param)


def folder_of(request: pytest.FixtureRequest, storage: str) -> str:
    """Return the URL of a new folder in a kind of storage."""
    url = request.getfixturevalue(storage)
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setenv("TMPDIR", str(request.getfixturevalue("tmp_path_factory").mktemp("copies")))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return f"{url}/{uuid.uuid4().hex}/study"
