"""Settle entries: write their fates to Redis."""
