"""Estimates, made before the launch, of the time, device memory and disk space that a study needs."""
