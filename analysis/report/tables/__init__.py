"""The tables of a report, as a reader sees them."""
