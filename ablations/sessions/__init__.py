"""Sessions: one call to `run`, from the study to its result, including looks and screening."""
