"""Reading a study: its files, its tables as typed frames, and its predictions."""
