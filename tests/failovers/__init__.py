"""Failovers, measured: `python -m tests.failovers` writes the table of docs/failovers.md."""
