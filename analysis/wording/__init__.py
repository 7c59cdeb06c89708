"""The wording of figures, tables and sentences: how numbers are written, and what a study calls its treatment."""
