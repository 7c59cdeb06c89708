"""A search over the options of arms: search spaces, sampling, records and confirmation.

====================  =======================================================================================
`samplers, pruners`   plugins that configure Optuna, one per file
`space`               the search space, from the dimensions that the plugins provide and the study's own ranges
`conditions`          when a parameter is drawn
`corners`, `grids`    the corners of a search space, and all points in a finite space
`arm_spaces`          which part of the space applies to which arm
`sampling`            obtains proposals from Optuna, and reports outcomes to it
`candidates`          converts drawn values to complete runs that can be confirmed and meet the constraints
`halving`             which trials continue after a rung
`rounds`, `brackets`  an arm's search, batch by batch; batches that are computed together
`outcomes`            converts the rows of a screening to the outcomes of its trials
`trials`, `journal`   the outcome of every trial, written once
`dashboard`           a copy for optuna-dashboard
`confirmation`        the best trials as arms on fresh seeds
`ranking`             the results and the cost of a search
`importances`         how much the parameters affected the trials' results
====================  =======================================================================================

Importing any of these modules does not import torch or Optuna. Plugins are imported on first use.
"""

from ablations.search.corners import corners
from ablations.search.space import Parameter, described, merged, space, suggest

__all__ = ["Parameter", "corners", "described", "merged", "space", "suggest"]
