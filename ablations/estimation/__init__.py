"""Estimates of what a study needs: time, device memory and disk space, before it is launched."""
