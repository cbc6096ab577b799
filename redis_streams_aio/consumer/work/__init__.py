"""Work: what is done with the entries that a consumer holds."""
