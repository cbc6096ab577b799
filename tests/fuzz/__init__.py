"""Everything that reads what others wrote, given what nobody would write: `python -m tests.fuzz --inputs 1000000`."""
