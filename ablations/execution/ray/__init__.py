"""What is done on a Ray cluster beside the runs themselves."""
