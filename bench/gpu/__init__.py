"""Acceptance test on a GPU, step by step: `make gpu`. See docs/gpu.md."""
