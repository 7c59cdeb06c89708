"""Trained networks that a study kept: loading, prediction, features and export."""
