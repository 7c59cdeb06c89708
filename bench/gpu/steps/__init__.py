"""Acceptance steps, one per module, each with a function ``check(told)``. `bench.gpu.catalogue` lists them."""
