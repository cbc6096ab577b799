"""Check arguments that users pass in: values, names, times and functions. Pure."""
