"""A model-based test of consumer groups: see `books` for the theory, `machine` for the rules and the invariants."""
