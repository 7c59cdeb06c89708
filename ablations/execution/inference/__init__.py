"""Trained networks that a study kept: loading them, predicting, features, export."""
