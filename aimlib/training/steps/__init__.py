"""Ways to run a training step: as it is written, as a captured graph, or compiled."""
