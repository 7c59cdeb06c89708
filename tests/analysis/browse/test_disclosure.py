"""Which parts of configurations and messages the page shows."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimlib.component import is_local as is_declared_local
from analysis.browse.disclosure import HIDDEN, is_local, public_options, public_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no file /home/alice/photos/n1.jpg here", "no file (path) here"),
        ('File "/home/alice/src/my net/train.py", line 3', 'File "train.py", line 3'),
        ("File '/opt/x.py': /tmp/a,/tmp/b", "File 'x.py': (path),(path)"),
        ("~alice/data and ~/data", "(path) and (path)"),
        (r"C:\Users\alice\x.jpg is gone", "(path) is gone"),
        ("at s3://bucket/alice/study", "at (address)"),
        ("https://bob:hunter2@host.example/x?token=1", "(address)"),
        ("alice@gpu7.example.org and 10.0.0.7:6379", "(address) and (address)"),
        ("3 images/s, 1/2 done, loss = 2.5", "3 images/s, 1/2 done, loss = 2.5"),
        ("node1: out of memory on node1-gpu", "(host): out of memory on node1-gpu"),
        ("a\x1b[31m red\u202e", "a\ufffd[31m red\ufffd"),
    ],
)
def test_only_paths_logins_addresses_and_hosts_are_removed_from_messages(text, shown):
    assert public_text(text, hosts=["node1"]) == shown


@given(
    st.lists(st.from_regex(r"[a-z0-9_.-]{1,8}", fullmatch=True), min_size=2, max_size=5), st.sampled_from(" :\n('\"")
)
def test_absolute_paths_are_never_shown(parts, before):
    path = "/" + "/".join(part.strip(".") or "x" for part in parts)
    shown = public_text(f"cannot open{before}{path}{before if before in chr(39) + chr(34) else ''} now")
    assert path not in shown
    assert re.search(r"\(path\)|\.py", shown)


def test_options_that_name_a_location_are_left_out_and_secrets_are_hidden():
    config = {
        "data": {"name": "dogs", "root": "/home/alice", "cache_dir": "x", "lists": "lists"},
        "model": {"weights": "https://bob@host/w.pt", "api_key": "sEcReT", "memory": None, "size": 3},
        "secret": {"part": 1},
    }
    assert public_options(config) == {
        "data": "dogs",
        "data.lists": "lists",
        "model.weights": "(address)",
        "model.api_key": HIDDEN,
        "model.memory": None,
        "model.size": 3,
        "secret": HIDDEN,
        "secret.part": HIDDEN,
    }


def test_all_local_options_of_shipped_data_sets_that_can_be_paths_are_left_out():
    from aimlib.registry import datasets

    kinds = [datasets.get(name).Config for name in datasets.names()]
    local = {
        name
        for kind in kinds
        for name, field in kind.model_fields.items()
        if is_declared_local(field) and "str" in str(field.annotation) and "max_length=1)" not in str(field.annotation)
    }
    assert {"root", "cache", "file"} <= local, "the test can fail"
    assert [name for name in local if not is_local(f"data.{name}")] == []
