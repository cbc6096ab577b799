"""Hosts: servers by name and port, as URLs list them. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..checks import templates
from ..exceptions import ConfigError

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]]*))(?::(.*))?", re.DOTALL)
"""An IPv6 address in brackets, or a name; and a port."""
_LAST_PORT = 65535


class Host(NamedTuple):
    """Where one server listens."""

    host: str
    port: int

    @property
    def shown(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_hosts(text: str, default_port: int) -> tuple[Host, ...]:
    """Read hosts with commas between them. Raises `ConfigError`."""
    if blank := templates.blank(text):
        raise ConfigError(f"redis_url: is an unfilled template: replace {blank!r} with a value")
    if not text:
        raise ConfigError(f"redis_url: has no host; expected e.g. host:{default_port},host:{default_port}")
    return tuple(_host(each, text, default_port) for each in text.split(","))


def _host(text: str, among: str, default_port: int) -> Host:
    found = _HOST.fullmatch(text)
    if found is None or any(letter.isspace() for letter in text):
        raise ConfigError(f"redis_url: {text!r} is not a host; expected e.g. redis-1:{default_port} or [::1]")
    host = found[1] or found[2]
    if not host:
        raise ConfigError(f"redis_url: a host is empty in {among!r}: remove the comma, or write the host's name there")
    return Host(host, _port(found[3], text, default_port))


def _port(text: str | None, where: str, default_port: int) -> int:
    if text is None:
        return default_port
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_LAST_PORT)) and 0 < int(text) <= _LAST_PORT):
        raise ConfigError(f"redis_url: the port in {where!r} is not one; expected 1 to {_LAST_PORT}")
    return int(text)
