"""Where and how runs are computed: which run starts next, on which worker, and what happens after an attempt ends."""
