"""A search over the options of arms: what can be drawn, who asks, what is kept, and what is confirmed.

====================  =======================================================================================
`spec`                what a study file says of a search
`parameters`          the search space, from the dimensions that the plugins bring
`extremes`, `grids`   its corners, and all of it where it is finite
`spaces`              which of the space applies to which arm
`proposals`           asks Optuna, and tells it what became of its questions
`candidates`          from what was drawn to complete runs, and whether they can be confirmed
`halving`             which trials of a rung go on
`rounds`, `brackets`  an arm's search batch by batch; batches that are computed together
`outcomes`            what the rows of a screening say of a trial
`trials`, `journal`    what became of every trial, written once
`watching`            a copy of it all that optuna-dashboard shows
`confirmation`        the best trials as arms on fresh seeds
`ranking`             what won, and what it cost
====================  =======================================================================================

Importing any of them imports neither torch nor Optuna.
"""

from ablations.search.corners import corners
from ablations.search.space import Parameter, described, merged, space, suggest

__all__ = ["Parameter", "corners", "described", "merged", "space", "suggest"]
