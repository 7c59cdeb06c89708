"""Sessions: one call of `run`, from the study to its result, with its looks and its screening."""
