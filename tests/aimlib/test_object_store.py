"""Requests to object storage, sent to test servers (see `s3_server`, `google_server`, `azure_server`)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import azure_server
import pytest
import s3_server

from aimlib import object_store
from aimlib.errors import StoreError
from aimlib.object_store import Address
from aimlib.paths import ObjectPath, for_arrow, place


def test_locations_are_paths_or_urls(tmp_path: Path) -> None:
    assert place("results/demo") == Path("results/demo")
    assert place(tmp_path) == tmp_path
    there = place("s3://bucket/a/b.parquet/")
    assert there == ObjectPath("bucket", "a/b.parquet") == place(there)
    assert (str(there), there.name, there.stem, there.suffix) == (
        "s3://bucket/a/b.parquet",
        "b.parquet",
        "b",
        ".parquet",
    )
    assert there.parent / "c" / "d" == place("s3://bucket/a") / "c/d" == ObjectPath("bucket", "a/c/d")
    assert str(place("s3://bucket")) == "s3://bucket"
    assert place("s3://bucket") / "x" == ObjectPath("bucket", "x")
    for scheme in ("gs", "az"):
        there = place(f"{scheme}://bucket/a")
        assert (there / "b").parent == there == ObjectPath("bucket", "a", scheme) != place("s3://bucket/a")
        assert str(there / "b") == f"{scheme}://bucket/a/b"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://KEY:SECRET@bucket/study", r"s3://\*\*\*@bucket/study: credentials do not belong in a URL"),
        ("s3://SECRET@bucket/study", r"credentials do not belong in a URL; set them in the environment"),
        ("https://SECRET@host/study", r"credentials do not belong"),
        (
            "s3://bucket/study?X-Amz-Signature=SECRET",
            r"s3://bucket/study\.\.\.: a study's URL must not contain '\?' or",
        ),
        ("gcs://bucket/study", r"in a directory or at s3://bucket/folder, gs://.*, but not at a gcs:// URL"),
        ("gs://SECRET@bucket/study", r"credentials do not belong in a URL.*: GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://SECRET@account/study", r"credentials do not belong in a URL.*: AZURE_STORAGE_CONNECTION_STRING"),
        ("gs://b/study", r"'b' is not the name of a bucket; use gs://bucket/folder"),
        ("s3://bucket/../study", r"contains an empty part, '\.' or '\.\.'"),
        ("s3://bucket/a//b", r"contains an empty part"),
        ("s3:///study", r"'' is not the name of a bucket"),
        (Path("s3://bucket/study"), r"a URL has two slashes; pass it as a string"),
    ],
)
def test_bad_urls_are_refused(url: str | Path, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        place(url)
    assert "SECRET" not in str(caught.value)


def test_names_cannot_point_outside_their_folder() -> None:
    for odd in ("..", "", "a/../b", "a//b", "\n", "a\\b"):
        with pytest.raises(AssertionError, match="is not a name in a folder"):
            place("s3://bucket/a") / odd


def test_an_object_can_be_written_read_and_deleted(any_remote: str) -> None:
    there = place(any_remote) / "a"
    assert object_store.head(there) is None
    assert not there.exists()
    with pytest.raises(FileNotFoundError):
        there.read_bytes()
    tag = object_store.put(there, b"one")
    assert object_store.get(there) == (b"one", tag)
    version = object_store.head(there)
    assert version.tag == tag
    assert -2 < version.age < 60
    assert object_store.put(there, b"two", create=True) is None
    assert object_store.put(there, b"two", match='"0"') is None
    assert there.read_text() == "one"
    assert object_store.put(there, b"two", match=tag) not in {tag, None}
    assert there.read_text() == "two"
    assert there.parent.exists()
    object_store.delete(there)
    object_store.delete(there)
    assert object_store.put(there, b"three", match=tag) is None
    assert not there.exists()
    object_store.put(there, b"")
    assert for_arrow(there).read() == b""


def test_long_listings_are_complete(any_remote: str, monkeypatch) -> None:
    folder = place(any_remote)
    for number in range(7):
        object_store.put(folder / f"{number}", b"")
    object_store.put(folder / "below" / "x", b"")
    call = object_store._call
    pages = []

    def small(*arguments: object, **options: object) -> object:
        pages.append(options)
        return call(*arguments, **options, MaxKeys=3)

    monkeypatch.setattr(object_store, "_call", small)
    found = object_store.listing(folder)
    assert sorted((entry.name, entry.folder) for entry in found) == [
        *((f"{n}", False) for n in range(7)),
        ("below", True),
    ]
    assert len(pages) > 2


@pytest.mark.parametrize("condition", ["create", "match"])
def test_exactly_one_of_many_conditional_puts_succeeds(any_remote: str, condition: str) -> None:
    """This test uses threads; `test_contract` uses processes. Contents differ because ETags depend on the content."""
    there = place(any_remote) / "a"
    tag = object_store.put(there, b"seen by all")
    if condition == "create":
        object_store.delete(there)
    for turn in range(3):
        answers, barrier = [], threading.Barrier(4)

        def attempt(number: int, turn: int, options: dict, answers: list, barrier: threading.Barrier) -> None:
            barrier.wait()
            answers.append(object_store.put(there, b"%d of %d" % (number, turn), **options))

        options = {"create": True} if condition == "create" else {"match": tag}
        threads = [
            threading.Thread(target=attempt, args=(number, turn, options, answers, barrier)) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([answer for answer in answers if answer is not None]) == 1
        tag = object_store.get(there)[1]
        assert tag in answers
        if condition == "create":
            object_store.delete(there)


@pytest.mark.parametrize("arrived", [True, False])
def test_a_put_counts_as_successful_even_if_its_response_was_lost(any_remote: str, monkeypatch, arrived: bool) -> None:
    """The client repeats a request that gets no response; if the first attempt arrived, the second attempt is
    refused."""
    there, call = place(any_remote) / "a", object_store._call

    def repeated(address: Address, request: str, **options: object) -> object:
        if request == "put_object":
            call(address, request, **(options if arrived else options | {"Metadata": {"writer": "another"}}))
        return call(address, request, **options)

    monkeypatch.setattr(object_store, "_call", repeated)
    assert (object_store.put(there, b"one", create=True) is not None) is arrived


def test_a_busy_storage_service_is_asked_again(any_remote: str, monkeypatch) -> None:
    there, call, busy = place(any_remote) / "a", object_store._call, [409, 409]

    def conflicted(address: Address, request: str, **options: object) -> object:
        if request == "put_object" and busy:
            raise object_store._Refused("conflict", busy.pop())
        return call(address, request, **options)

    monkeypatch.setattr(object_store, "_call", conflicted)
    monkeypatch.setattr(object_store.time, "sleep", lambda seconds: None)
    assert object_store.put(there, b"one", create=True)
    assert busy == []
    busy += [409] * 100
    with pytest.raises(StoreError, match="answered 20 times that it was busy"):
        object_store.put(there, b"one")


def in_another_process(code: str, **environment: str) -> str:
    """Execute code in another process, and return the message of the StoreError that it raises."""
    code = f"from aimlib import object_store, paths\nfrom aimlib.errors import StoreError\n{code}"
    env = os.environ | environment
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert ended.returncode
    assert s3_server.SECRET not in ended.stderr
    assert "During handling" not in ended.stderr, "a cause would contain the signed request"
    assert "StoreError" in ended.stderr or "_Refused" in ended.stderr
    return ended.stderr.splitlines()[-1]


def test_errors_state_the_remedy_and_do_not_contain_secrets(remote: str) -> None:
    put = f"object_store.put(paths.place({remote!r}) / 'a', b'')"
    refused = in_another_process(put, AWS_SECRET_ACCESS_KEY="another-secret", AWS_ACCESS_KEY_ID="another-key")
    assert f"{remote}/a: cannot be written: InvalidAccessKeyId: " in refused
    assert "set credentials that have permission to read and write there: AWS_PROFILE" in refused
    assert "another-secret" not in refused
    assert "another-key" not in refused
    assert "pass-word" not in in_another_process(put, AWS_ENDPOINT_URL_S3="http://user:pass-word@127.0.0.1:1")
    nobody = in_another_process(put, AWS_ENDPOINT_URL_S3="http://127.0.0.1:1", AWS_MAX_ATTEMPTS="1")
    assert "check the network and AWS_ENDPOINT_URL_S3" in nobody
    unknown = in_another_process(
        f"import os; del os.environ['AWS_ACCESS_KEY_ID']; {put}", AWS_CONFIG_FILE="/", HOME="/"
    )
    assert "set credentials that have permission to read and write there" in unknown
    with pytest.raises(StoreError, match=r"no-such-bucket/x: cannot be listed: NoSuchBucket: .*; create the bucket"):
        object_store.listing(Address("no-such-bucket", "x"))


SAID = """
import contextlib, os
from aimlib import object_store, paths
from aimlib.errors import StoreError
for url, variables in {cases!r}:
    os.environ.update({{name: value for name, value in variables.items() if value is not None}})
    for name in [name for name, value in variables.items() if value is None]:
        del os.environ[name]
    object_store.renew_credentials()
    try:
        object_store.put(paths.place(url), b"")
    except StoreError as error:
        print(str(error).replace(chr(10), "|"))
"""


def said_in_another_process(*cases: tuple[str, dict[str, str | None]]) -> list[str]:
    """Return the messages of put requests to these URLs, each with additional changes to the environment."""
    environment = os.environ | {"NO_GCE_CHECK": "true", "HOME": "/nowhere"}
    code = SAID.format(cases=cases)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_errors_from_google_state_the_remedy_and_do_not_contain_secrets(google_bucket: str, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"type": "service_account", "private_key": "a-secret-key"}')
    bucket, nobody, damaged = said_in_another_process(
        ("gs://no-such-bucket/a", {}),
        (f"{google_bucket}/a", {"STORAGE_EMULATOR_HOST": None}),
        (f"{google_bucket}/a", {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}),
    )
    assert "gs://no-such-bucket/a: cannot be written: NoSuchBucket: " in bucket
    assert "create the bucket, or correct the URL" in bucket
    for message in (nobody, damaged):
        assert f"{google_bucket}/a: cannot be written: DefaultCredentialsError: " in message
        assert (
            "; set credentials that have permission to read and write there: GOOGLE_APPLICATION_CREDENTIALS" in message
        )
        assert "a-secret-key" not in message
    assert str(key) in damaged


def test_errors_from_azure_state_the_remedy_and_do_not_contain_secrets(azure_container: str) -> None:
    variable = "AZURE_STORAGE_CONNECTION_STRING"
    there = os.environ[variable]
    container, wrong, malformed, none = said_in_another_process(
        ("az://no-such-container/a", {}),
        (f"{azure_container}/a", {variable: there.replace("AccountKey=", "AccountKey=AAAA")}),
        (f"{azure_container}/a", {variable: "AccountKey=a-secret-key"}),
        (f"{azure_container}/a", {variable: None}),
    )
    assert "az://no-such-container/a: cannot be written: NoSuchBucket: " in container
    assert "create the bucket, or correct the URL" in container
    for message in (wrong, malformed, none):
        assert f"{azure_container}/a: cannot be written: " in message
        assert (
            "; set credentials that have permission to read and write there: AZURE_STORAGE_CONNECTION_STRING, or"
            in message
        )
        assert "a-secret-key" not in message
        assert azure_server.KEY not in message
    assert "AZURE_STORAGE_ACCOUNT_NAME is '', not the name of a storage account" in none


@pytest.mark.parametrize(
    ("url", "variable", "value"),
    [
        ("gs://bucket/a", "STORAGE_EMULATOR_HOST", "http://127.0.0.1:1"),
        (
            "az://container/a",
            "AZURE_STORAGE_CONNECTION_STRING",
            f"AccountName=a;AccountKey={azure_server.KEY};BlobEndpoint=http://127.0.0.1:1/a;",
        ),
    ],
)
def test_an_unreachable_server_counts_as_an_outage(url: str, variable: str, value: str, monkeypatch) -> None:
    from ablations.store.outages import kind_of

    pytest.importorskip("google.auth" if url.startswith("gs") else "azure.storage.blob")
    monkeypatch.setenv(variable, value)
    object_store.renew_credentials()
    try:
        with pytest.raises(StoreError, match="; check the network and ") as refused:
            object_store.put(place(url), b"")
    finally:
        object_store.renew_credentials()
    assert kind_of(refused.value) == "unreachable"
    assert azure_server.KEY not in str(refused.value)


@pytest.mark.timeout(30)
def test_a_put_to_a_server_that_hangs_fails_and_counts_as_an_outage(monkeypatch) -> None:
    from ablations.store.outages import kind_of
    from aimlib.object_store import s3

    pytest.importorskip("s3fs")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as hanging:  # accepts connections but never responds
        monkeypatch.setitem(s3._SETTINGS, "read_timeout", 0.2)
        monkeypatch.setitem(s3._SETTINGS, "retries", {"mode": "standard", "total_max_attempts": 1})
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{hanging.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        object_store.renew_credentials()
        try:
            with pytest.raises(StoreError, match="ReadTimeoutError") as refused:
                object_store.put(place("s3://bucket/a"), b"content")
        finally:
            object_store.renew_credentials()
    assert kind_of(refused.value) is not None


def test_a_large_object_is_read_in_ranges(any_remote: str) -> None:
    there = place(any_remote) / "a"
    content = os.urandom(3_000_000)
    object_store.put(there, content)
    assert object_store.get_start(there, 1000) == (content[:1000], False)
    with object_store.opened(there) as file:
        file.seek(-1000, os.SEEK_END)
        assert file.read() == content[-1000:]
        file.seek(1_500_000)
        assert file.read(10) == content[1_500_000:1_500_010]
        file.seek(0)
        assert file.read() == content


@pytest.mark.parametrize(
    ("scheme", "module", "package"),
    [("s3", "s3fs", "s3fs"), ("gs", "google.auth", "google-auth"), ("az", "azure.storage.blob", "azure-storage-blob")],
)
def test_a_missing_extra_is_reported(scheme: str, module: str, package: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None\npaths.place('{scheme}://bucket/a').exists()"
    message = in_another_process(code)
    assert f"{scheme}://: object storage needs the package {package}" in message
    assert f"pip install 'aim-ablations[{scheme}]'" in message


def test_a_forked_child_has_its_own_client(any_remote: str) -> None:
    there = place(any_remote) / "a"
    object_store.put(there, b"one")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if object_store.put(there, b"two") else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert there.read_bytes() == b"two"


def test_importing_paths_does_not_import_heavy_packages() -> None:
    code = "import sys, aimlib.paths; print({'s3fs', 'fsspec', 'pyarrow', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
