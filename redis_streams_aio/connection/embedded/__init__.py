"""A Valkey server of the process's own, for `embedded://`."""
