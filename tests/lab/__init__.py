"""Acceptance tests in the lab: each row of the background documents, run on a real multi-homed host."""
