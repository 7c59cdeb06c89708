"""A search over the options of arms: spaces, drawing, records and confirmation.

====================  =======================================================================================
`samplers, pruners`   plugins that configure Optuna, one per file
`space`               the search space, from the dimensions that the plugins provide and the study's own ranges
`conditions`          when a parameter is drawn
`corners`, `grids`    the corners of a space, and all points of a finite space
`arm_spaces`          which part of the space applies to which arm
`sampling`            draws from Optuna, and reports outcomes to it
`candidates`          from drawn values to complete runs that can be confirmed and meet the constraints
`halving`             which trials of a rung continue
`rounds`, `brackets`  the search of an arm batch by batch; batches that are computed together
`outcomes`            from the rows of a screening to the outcomes of its trials
`trials`, `journal`   the outcome of every trial, written once
`dashboard`           a copy for optuna-dashboard
`confirmation`        the best trials as arms on fresh seeds
`ranking`             the results and the cost of a search
`importances`         how much the parameters mattered for the trials
====================  =======================================================================================

Importing any of these modules imports neither torch nor Optuna. Plugins are imported on first use.
"""

from ablations.search.corners import corners
from ablations.search.space import Parameter, described, merged, space, suggest

__all__ = ["Parameter", "corners", "described", "merged", "space", "suggest"]
