"""Everything that is said about a study."""
