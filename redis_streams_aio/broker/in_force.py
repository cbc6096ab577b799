"""The settings that are in force: those of `settings=`, with what stands beside it in `Broker(...)` on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..checks.values import instance, shown
from ..config import Settings
from ..connection.address import parse
from ..exceptions import ConfigError

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster


def settings_in_force(
    settings: Settings | None, url: str | None, group: str | None, client: Redis | RedisCluster | None
) -> Settings:
    """The settings of a broker that was given these. Raises `ConfigError`, also where nothing says where Redis is."""
    if isinstance(settings, dict):
        raise ConfigError(f"settings={shown(settings)}: expected Settings; write Settings(**settings), or from_config")
    known = Settings() if settings is None else instance("settings", settings, Settings)
    if url is not None:
        if client is not None:
            raise ConfigError("url and client: both say where Redis is; leave one of them out")
        known = msgspec.structs.replace(known, redis_url=parse(url).url)
    if client is None and known.redis_url is None:
        raise ConfigError("no redis_url and no client: say where Redis is, e.g. Broker('redis://localhost:6379/0')")
    return known if group is None else msgspec.structs.replace(known, group=group)
