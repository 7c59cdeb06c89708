"""The findings of a study."""
