"""The result store, the authoritative record of a study.

Executors may crash and lose their state; the store must not.
"""

from ablations.store.leases import Terms
from ablations.store.result_store import ResultStore, read_mark
from ablations.store.run_locks import Fenced, RunLock

__all__ = ["Fenced", "ResultStore", "RunLock", "Terms", "read_mark"]
