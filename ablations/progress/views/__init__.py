"""Views of a running study: on a terminal, as lines of a log, and as a page of HTML."""
