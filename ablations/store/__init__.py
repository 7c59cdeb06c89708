"""The result store: the truth of a study. What executes the runs may crash and forget; this must not."""

from ablations.store.claims import Claim
from ablations.store.results import ResultStore, read_mark

__all__ = ["Claim", "ResultStore", "read_mark"]
