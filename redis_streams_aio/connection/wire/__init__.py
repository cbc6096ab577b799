"""Bytes to and from Redis on a connection that is open: what waits to be sent, what is sent, and what is read."""
