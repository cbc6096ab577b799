"""Sentinels, with a primary and its replicas, all real."""
