"""Each step at Redis alone, against a real server."""
