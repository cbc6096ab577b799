"""Every Python that starts with this folder on its path has all capabilities masked: `nox -s newest` runs tests so."""

from redis_streams_aio.connection import capabilities

capabilities.SINCE.clear()
