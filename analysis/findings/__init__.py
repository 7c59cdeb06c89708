"""All findings about a study."""
