"""The result store: the truth of a study. What executes the runs may crash and forget; this must not."""

from ablations.store.leases import Terms
from ablations.store.result_store import ResultStore, read_mark
from ablations.store.run_locks import Claim, Fenced

__all__ = ["Claim", "Fenced", "ResultStore", "Terms", "read_mark"]
