"""Tune's registry is read once during a session, and is restored afterwards."""

from __future__ import annotations

import pytest

from ablations.execution.ray.registry_cache import cached_registry

registry = pytest.importorskip("ray.tune.registry")
KIND = registry.TEST


@pytest.fixture(autouse=True)
def entry():
    """Register a list; without a cache, every access unpickles the list as a new object."""
    known = registry._global_registry
    known.register(KIND, "entry", [1])
    yield known
    known.unregister(KIND, "entry")


def test_within_a_session_an_entry_is_read_only_once(entry):
    with cached_registry():
        assert entry.get(KIND, "entry") is entry.get(KIND, "entry")
        assert entry.contains(KIND, "entry")
    assert entry.get(KIND, "entry") is not entry.get(KIND, "entry")


def test_an_entry_registered_during_the_session_replaces_the_earlier_one(entry):
    with cached_registry():
        assert entry.get(KIND, "entry") == [1]
        entry.register(KIND, "entry", [2])
        assert entry.get(KIND, "entry") == [2]


def test_an_entry_that_was_missing_is_found_after_its_registration(entry):
    with cached_registry():
        assert not entry.contains(KIND, "later")
        entry.register(KIND, "later", [3])
        assert entry.contains(KIND, "later")
    entry.unregister(KIND, "later")


def test_sessions_may_end_in_the_order_in_which_they_began(entry):
    first, second = cached_registry(), cached_registry()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert entry.get(KIND, "entry") is entry.get(KIND, "entry")
    second.__exit__(None, None, None)
    assert not {"register", "contains", "get"} & vars(entry).keys()


def test_an_error_in_the_session_restores_the_registry(entry):
    with pytest.raises(ZeroDivisionError), cached_registry():
        raise ZeroDivisionError
    assert entry.get(KIND, "entry") is not entry.get(KIND, "entry")
