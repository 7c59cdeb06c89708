"""Views of a running study: in a terminal, as log lines, and as an HTML page."""
