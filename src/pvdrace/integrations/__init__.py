"""One file per client library; each imports the public names alone."""
