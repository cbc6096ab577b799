"""Checks of what users write: values, names, times, functions. Pure."""
