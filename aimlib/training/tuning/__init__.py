"""Fine-tuning in a run: parameter groups, what is frozen in each epoch, and the weight average."""
