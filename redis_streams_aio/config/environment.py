"""Settings from the environment: `REDIS_STREAMS_BLOCK_MS=500` sets `block_ms`.

`REDIS_STREAMS_STREAMS` is JSON: `{"orders": {"retention": {"acknowledged": true}}}`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..exceptions import ConfigError
from ..telemetry.logs import log
from .hints import suggestion, unit
from .settings import Settings, StreamSettings

PREFIX = "REDIS_STREAMS_"


def settings_in(environment: Mapping[str, str]) -> dict[object, object]:
    """Return the settings that the environment names, by key. Raises `ConfigError` for a value of a wrong type.

    A variable that is not a setting is ignored, with a warning in the log: Kubernetes, for example, sets variables with
    this prefix for a service called redis-streams.
    """
    found: dict[object, object] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX):
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key in Settings.__struct_fields__:
            found[key] = _converted(variable, key, value)
        else:
            shown = variable.encode("utf-8", "backslashreplace").decode()
            nearest = suggestion(key, Settings.__struct_fields__)
            log.warning("environment variable %s is not a setting and is ignored%s", shown, nearest)
    return found


def _converted(variable: str, key: str, value: str) -> object:
    try:
        value.encode()  # Python turns bytes that are not UTF-8 into text that cannot be sent
        if key == "streams":
            return msgspec.to_builtins(msgspec.json.decode(value, type=dict[str, StreamSettings]))
        return msgspec.convert(value, _type_of(key), strict=False)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:  # a ValidationError is a DecodeError
        raise ConfigError(f"environment variable {variable}: {error}{unit(key)}") from None


def _type_of(key: str) -> object:
    return next(field.type for field in msgspec.structs.fields(Settings) if field.name == key)
