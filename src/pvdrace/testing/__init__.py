"""Public helpers for tests: scenarios in words on virtual time, and checks for what you write yourself."""
