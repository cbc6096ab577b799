"""Settling: how the fates of deliveries are written to Redis."""
