"""Settings: every option of a broker, from code, from `config.yaml` and from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .retention import Retention
from .settings import MAX_PAYLOAD_BYTES, Settings, StreamSettings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_PAYLOAD_BYTES", "Retention", "Settings", "StreamSettings", "load"]


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of section `redis_streams` of a YAML file, with `REDIS_STREAMS_<KEY>` variables on top.

    `environment` defaults to that of the process. Raises `ConfigError`.
    """
    from . import loading  # noqa: PLC0415  # imported only for those who have a file

    return loading.load(path, environment)
