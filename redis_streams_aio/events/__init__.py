"""Entries, keys and events as they are in Redis, and as handlers see them. Pure: no input or output."""
