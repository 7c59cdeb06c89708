"""Everything that uses Ray: computing runs with Ray Tune, and what its clusters need."""
