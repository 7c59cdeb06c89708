"""What `aimlib.datasets.verify` checks, one module per question."""
