"""Work: handle the entries that a consumer holds."""
