"""`ablate doctor`: is this machine, or this cluster, fit to run a study, and what to do where it is not."""
