"""Load settings from a YAML file, with the environment on top.

An unknown key, a wrong type or a value out of range raises `ConfigError` with the key's path
(`$.redis_streams.streams.orders.durability`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from ..checks import values
from ..exceptions import ConfigError
from .environment import settings_in
from .hints import suggestion, unit
from .retention import Retention
from .settings import Settings, StreamSettings

if TYPE_CHECKING:
    from pathlib import Path

SECTION = "redis_streams"


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Load section `redis_streams` of a YAML file. `REDIS_STREAMS_<KEY>` in the environment overrides a key.

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
    checked = msgspec.to_builtins(_convert(section, f"{path}: "))
    return _convert({**checked, **settings_in(os.environ if environment is None else environment)}, "environment: ")


def _read(path: str | Path) -> object:
    """Read a YAML file. Raises `ConfigError`."""
    from pathlib import Path  # noqa: PLC0415  # imported only for those who have a file

    from . import yaml_files  # noqa: PLC0415

    if not isinstance(path, str | Path) or not str(path):
        raise ConfigError(f"path={values.shown(path)}: expected the path of a file, e.g. 'config.yaml'")
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not a possible file name
        raise ConfigError(f"{path!r:.200}: cannot be read: {error}") from error
    try:
        return yaml_files.parse(text)
    except yaml_files.RepeatedKeyError as error:
        raise ConfigError(
            f"{path}: the key {values.shown(error.key)} is given twice: see lines {error.first} and {error.second}; "
            "remove one of them"
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"{path}: is not valid YAML{_place(error.__cause__)}"
        ) from None  # the parser's text may quote the file


def _place(error: BaseException | None) -> str:
    """Say where a file is wrong, as far as the YAML parser knows."""
    mark = getattr(error, "context_mark", None) or getattr(error, "problem_mark", None)
    return "" if mark is None else f": see line {mark.line + 1}, column {mark.column + 1}"


def _convert(section: Mapping[object, object], source: str) -> Settings:
    try:
        return msgspec.convert({SECTION: section}, _File).redis_streams
    except msgspec.ValidationError as error:
        raise ConfigError(source + _explain(_named(str(error), section))) from None


def _named(problem: str, section: Mapping[object, object]) -> str:
    """Return msgspec's text with the stream's name in the path instead of `[...]`."""
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


_UNKNOWN = r"Object contains unknown field `(?P<key>.*)` - at `(?P<path>.*)`"
_AT = r"(?P<problem>.*) - at `(?:key in )?(?P<path>\$.*)`"


def _record_at(path: str) -> type[msgspec.Struct]:
    if ".streams" not in path:
        return Settings
    return Retention if path.endswith(".retention") else StreamSettings


def _explain(problem: str) -> str:
    """Return msgspec's text with the whole path of the key, the nearest known key, and the unit."""
    if match := re.fullmatch(_UNKNOWN, problem, re.DOTALL):
        key, path = match["key"], match["path"]
        known = _record_at(path)
        return f"unknown key - at {path}.{key}{suggestion(key, known.__struct_fields__)}"
    if match := re.fullmatch(_AT, problem, re.DOTALL):
        return f"{match['problem']} - at {match['path']}{unit(match['path'])}"
    return problem
