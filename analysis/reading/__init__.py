"""Reading a study: its files, its tables as typed frames, its predictions."""
