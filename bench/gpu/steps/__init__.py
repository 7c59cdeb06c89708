"""One step of the acceptance a module, each with a function ``check(told)``; `bench.gpu.catalogue` lists them."""
