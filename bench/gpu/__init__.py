"""What must hold on a GPU, tried step by step: `make gpu`. See docs/gpu.md."""
