"""The result store: the truth of a study. What executes the runs may crash and forget; this must not."""

from ablations.store.leases import Terms
from ablations.store.result_store import ResultStore, read_mark
from ablations.store.run_locks import Fenced, RunLock

__all__ = ["Fenced", "ResultStore", "RunLock", "Terms", "read_mark"]
