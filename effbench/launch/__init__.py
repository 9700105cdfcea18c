"""One file, one launcher: words in, a running child out."""
