"""Measurements of speed and memory: one module per question. `make bench` runs all of them; see docs/performance.md."""
