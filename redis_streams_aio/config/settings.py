"""Settings: every option of a broker in one frozen record, from code, from `config.yaml`, and from the environment
on top.

Strict: an unknown key, a wrong type or a value out of range raises `ConfigError` with the key's path
(`$.redis_streams.streams.orders.maxlen`). Times are seconds, but for keys that end in `_ms`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..checks import names, values
from ..exceptions import ConfigError
from ..telemetry.logs import log

if TYPE_CHECKING:
    from pathlib import Path

SECTION = "redis_streams"
ENVIRONMENT_PREFIX = "REDIS_STREAMS_"

MAX_PAYLOAD_BYTES = 1024 * 1024

_Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one stream."""

    maxlen: Annotated[int, Meta(ge=1)] | None = None
    """Trim to about this many entries at each publish (`MAXLEN ~`).

    Trimming also takes entries that a slow group has not read.
    """
    alert_length: Annotated[int, Meta(ge=1)] | None = None
    """Tell (fact `StreamPastBound`, a warning in the log) when the stream grows longer than this."""

    def __post_init__(self) -> None:
        _check_fields(self)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options of a broker. Every one has a default."""

    redis_url: str | None = None
    """`redis://`, `rediss://`, `unix://`, `embedded://[/path]` or `memory://`."""
    group: _Name | None = None
    """Consumer group of handlers that name none."""
    consumer: _Name | None = None
    """This process's name in its groups, the same after a restart. Default: a new one each time, `host-pid-random`."""
    streams: dict[_Name, StreamSettings] = {}
    """Options by stream name."""
    block_ms: Annotated[int, Meta(ge=10, le=60_000)] = 2_000
    """How long one read waits for new entries, in milliseconds."""
    count: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """At most this many entries in one read."""
    max_payload_bytes: Annotated[int, Meta(ge=1, le=512 * 1024 * 1024)] = MAX_PAYLOAD_BYTES
    """Largest encoded payload that `publish` takes and handlers are given; a larger one that somebody else published
    is dead-lettered undecoded.
    """
    connect_timeout: _Seconds | None = None
    """Seconds to wait for Redis at start before giving up.

    Default: wait for as long as it takes, and say so in the log.
    """
    command_timeout: _Seconds = 10.0
    """Seconds after which a command that Redis does not answer, or cannot be sent, fails."""
    reclaim_interval: _Seconds = 0.5
    """Seconds between looks for entries of consumers that are gone, where anything is pending.

    What a draining consumer gives back waits this long.
    """
    lease_thread: bool = False
    """Renew leases in a thread, so that a handler that blocks the event loop keeps its events."""
    consumer_expiry: _Seconds = 3_600.0
    """Seconds after which the name of a consumer that is gone, with nothing pending, is removed from its group."""
    dead_letter_maxlen: Annotated[int, Meta(ge=1)] | None = None
    """At most this many dead letters are kept in a stream of them, the newest. Default: all."""
    dead_letter_retention: Annotated[float, Meta(gt=0, le=315_360_000)] | None = None
    """Seconds for which dead letters are kept, at most ten years. Default: without end."""
    checkpoints: Literal["redis", "memory"] = "redis"
    """Where checkpoints are kept."""
    checkpoint_interval: _Seconds = 1.0
    """Seconds between checkpoints, while events are settled."""
    lag_interval: _Seconds = 5.0
    """Seconds between measurements of lag."""
    lag_high: Annotated[int, Meta(ge=1)] = 10_000
    """A group more than this many entries behind raises the backpressure signal."""
    lag_low: Annotated[int, Meta(ge=0)] = 1_000
    """The signal is withdrawn when the group is no more than this many entries behind."""
    grace: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """Seconds that running handlers get to finish at a stop."""

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.lag_low >= self.lag_high:
            raise ConfigError(f"lag_low ({self.lag_low}) must be below lag_high ({self.lag_high})")
        for what, name in (("group", self.group), ("consumer", self.consumer)):
            if name is not None:
                names.checked(what, name)
        for name in self.streams:
            names.checked("streams", name)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = None if self.redis_url is None else f"{self.redis_url.partition(':')[0]}://***"
        return [(name, shown if name == "redis_url" else getattr(self, name)) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def stream(self, name: str) -> StreamSettings:
        """The options of a stream; the defaults where none are given."""
        return self.streams.get(name, _DEFAULT_STREAM)


def _check_fields(record: msgspec.Struct) -> None:
    """Check what is given in code as what a file says, and keep it as a file's: plain text, records for mappings.

    Raises `ConfigError`.
    """
    for field in msgspec.structs.fields(record):
        given = getattr(record, field.name)
        try:
            value = msgspec.convert(_plain(given), field.type)
        except UnicodeEncodeError:
            raise ConfigError(f"{type(record).__name__}({field.name}): text that cannot be written as UTF-8") from None
        except Exception as error:  # noqa: BLE001  # of what users pass in, whatever its class does
            shown = "..." if field.name == "redis_url" else values.shown(given)
            raise ConfigError(f"{type(record).__name__}({field.name}={shown}): {error}{_unit(field.name)}") from None
        if value is not given:
            msgspec.structs.force_setattr(record, field.name, value)


def _plain(value: object) -> object:
    """Text of a class of its own, as members of a `(str, Enum)` are, as text; also the keys of a mapping."""
    if isinstance(value, str):
        return names.exact(value)
    if isinstance(value, dict):
        return {_plain(name): inner for name, inner in value.items()}
    return value


_DEFAULT_STREAM = StreamSettings()


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of section `redis_streams` of a YAML file, with `REDIS_STREAMS_<KEY>` of the environment on top.

    Raises `ConfigError`.
    """
    document = _read(path)
    if not isinstance(document, dict) or SECTION not in document:
        raise ConfigError(f"{path}: has no section {SECTION!r} at the top")
    section = document[SECTION]
    if section is None:
        section = {}
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: expected a mapping, got {type(section).__name__} - at $.{SECTION}")
    checked = _convert(section, f"{path}: ")
    return _on_top(checked, os.environ if environment is None else environment)


def _read(path: str | Path) -> object:
    """The document of a YAML file. Raises `ConfigError`."""
    from pathlib import Path  # noqa: PLC0415  # only those who have a file pay for these

    from . import yaml_files  # noqa: PLC0415

    if not isinstance(path, str | Path) or not str(path):
        raise ConfigError(f"path={values.shown(path)}: expected the path of a file, e.g. 'config.yaml'")
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a name that no file can have
        raise ConfigError(f"{path!r:.200}: cannot be read: {error}") from error
    try:
        return yaml_files.parse(text)
    except ValueError as error:
        raise ConfigError(f"{path}: is no YAML{_place(error.__cause__)}") from None  # its words may be the file's


def _place(error: BaseException | None) -> str:
    """Where a file is wrong, as far as the YAML parser knows."""
    mark = getattr(error, "context_mark", None) or getattr(error, "problem_mark", None)
    return "" if mark is None else f": see line {mark.line + 1}, column {mark.column + 1}"


def _on_top(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings, with what the environment says in place of what the file says."""
    given = {name: value for name, value in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}
    changes: dict[object, object] = {}
    for variable, value in given.items():
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key not in Settings.__struct_fields__ or key == "streams":
            # no error: an orchestrator may set such names too (a Kubernetes service called redis-streams does)
            shown = variable.encode("utf-8", "backslashreplace").decode()
            log.warning("environment variable %s is no setting and is ignored%s", shown, _suggestion(key))
            continue
        try:
            value.encode()  # bytes that are no UTF-8 come as text that cannot be sent
            changes[key] = msgspec.convert(value, _field_type(key), strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise ConfigError(f"environment variable {variable}: {error}{_unit(key)}") from None
    settled: dict[object, object] = {**msgspec.to_builtins(settings), **changes}
    return _convert(settled, "environment: ")


def _field_type(key: str) -> object:
    return next(field.type for field in msgspec.structs.fields(Settings) if field.name == key)


def _convert(section: Mapping[object, object], source: str) -> Settings:
    try:
        return msgspec.convert({SECTION: section}, _File).redis_streams
    except msgspec.ValidationError as error:
        raise ConfigError(source + _explain(_named(str(error), section))) from None


def _named(problem: str, section: Mapping[object, object]) -> str:
    """The words of msgspec, with the stream's name in the path where it says `[...]`."""
    streams = section.get("streams")
    if "streams[...]" in problem and isinstance(streams, dict):
        for name, options in streams.items():
            try:
                msgspec.convert(options, StreamSettings)
            except msgspec.ValidationError:
                return problem.replace("streams[...]", f"streams.{name}")
    return problem


class _File(msgspec.Struct, frozen=True):
    redis_streams: Settings


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)` - at `(?P<path>.*)`", re.DOTALL)
_AT = re.compile(r"(?P<problem>.*) - at `(?:key in )?(?P<path>\$.*)`", re.DOTALL)


def _explain(problem: str) -> str:
    """The words of msgspec, with the whole path of the key, what a near miss may have meant, and the unit."""
    if match := _UNKNOWN.fullmatch(problem):
        key, path = match["key"], match["path"]
        known = StreamSettings if ".streams" in path else Settings
        return f"unknown key - at {path}.{key}{_suggestion(key, known)}"
    if match := _AT.fullmatch(problem):
        return f"{match['problem']} - at {match['path']}{_unit(match['path'])}"
    return problem


def _suggestion(key: str, record: type[msgspec.Struct] = Settings) -> str:
    import difflib  # noqa: PLC0415  # only those who are wrong pay for it

    near = difflib.get_close_matches(key, record.__struct_fields__, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def _unit(path: str) -> str:
    key = path.rpartition(".")[2]
    if key.endswith("_ms"):
        return " (in milliseconds, a whole number)"
    if key.endswith(("timeout", "interval", "expiry", "retention")) or key == "grace":
        return " (in seconds, a number)"
    return ' ("redis" or "memory")' if key == "checkpoints" else ""
