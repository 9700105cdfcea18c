"""Documents on disk: atomic, content-addressed."""
