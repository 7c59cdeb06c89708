"""Files of trained networks: a settled run's file is kept, and the files from its other attempts are removed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from ablations.store import ResultStore
from ablations.store.networks import name_of
from aimlib.errors import StoreError

from .sample import identity, make_record

CONTENTS = (b"a network", b"the network of another attempt", b"a third one")
DIGESTS = tuple(hashlib.sha256(content).hexdigest() for content in CONTENTS)


def settled_with(store: ResultStore, run_id: str, digest: str | None) -> None:
    record = make_record(run_id)
    store.settle(replace(record, run={**record.run, "network": digest}))


@pytest.mark.parametrize("named", [0, 1, 2])
def test_the_file_to_which_the_row_refers_is_kept_after_several_attempts(anywhere: str, named: int) -> None:
    store, run_id = ResultStore(anywhere), identity(1)
    for digest, content in zip(DIGESTS, CONTENTS, strict=True):
        store.keep_network(run_id, digest, content)
    store.clean()
    assert [store.network(run_id, digest) for digest in DIGESTS] == list(CONTENTS), "the run is not settled yet"
    settled_with(store, run_id, DIGESTS[named])
    store.clean()
    assert store.network(run_id, DIGESTS[named]) == CONTENTS[named]
    for digest in DIGESTS[:named] + DIGESTS[named + 1 :]:
        with pytest.raises(StoreError, match=f"{name_of(run_id, digest)}: is missing"):
            store.network(run_id, digest)


def test_no_file_is_kept_if_the_row_does_not_refer_to_a_network(store: ResultStore) -> None:
    run_id, other = identity(1), identity(2)
    for digest, content in zip(DIGESTS, CONTENTS, strict=True):
        store.keep_network(run_id, digest, content)
    store.keep_network(other, DIGESTS[0], CONTENTS[0])
    settled_with(store, run_id, None)
    settled_with(store, other, DIGESTS[0])
    store.clean()
    left = {path.name for path in (store.place / "networks").iterdir()}
    assert left == {name_of(other, DIGESTS[0]).rpartition("/")[2]}
