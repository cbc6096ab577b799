"""Intake: where a consumer's entries come from, and how it keeps them."""
