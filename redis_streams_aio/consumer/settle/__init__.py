"""Settle deliveries: write their fates to Redis."""
