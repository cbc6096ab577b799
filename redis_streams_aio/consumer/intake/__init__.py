"""Intake: get entries from Redis, and keep them by renewing leases."""
