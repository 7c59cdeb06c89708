"""Where and how runs are computed: what is next, on which worker, and what to do when an attempt ends."""
