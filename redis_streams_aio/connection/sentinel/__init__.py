"""The primary that Sentinels name: asking for it, listening for another one, and the topology on top of both."""
