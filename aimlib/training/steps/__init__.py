"""Ways to run a training step: eager, as a captured graph, or compiled."""
