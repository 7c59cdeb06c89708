"""Fine-tuning in a run: groups of parameters, what is frozen in an epoch, and the average of the weights."""
