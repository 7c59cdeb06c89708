"""The result store: the truth of a study. What executes the runs may crash and forget; this must not."""

from ablations.store.claims import Claim, Fenced
from ablations.store.leases import Terms
from ablations.store.results import ResultStore, read_mark

__all__ = ["Claim", "Fenced", "ResultStore", "Terms", "read_mark"]
