"""Where and how runs are computed: which run is next, on which worker, and what follows the end of an attempt."""
