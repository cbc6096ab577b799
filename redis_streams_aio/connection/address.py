"""Addresses: what a URL means, and how it is shown without its credentials. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..checks import templates
from ..checks.names import exact
from ..checks.values import shown as shown_value
from ..exceptions import ConfigError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

CONNECT_TIMEOUT = 5.0
"""Seconds for one TCP or TLS connection to come about."""

Scheme = Literal["redis", "rediss", "unix", "embedded", "memory"]
SCHEMES: tuple[Scheme, ...] = ("redis", "rediss", "unix", "embedded", "memory")


class Address(msgspec.Struct, frozen=True):
    """Where the server is."""

    scheme: Scheme
    url: str
    path: str
    """`embedded://`: the data folder, `""` for a temporary one; `memory://`: the name, `""` for one of its own."""
    shown: str
    """The URL without credentials, for logs and errors."""

    def __repr__(self) -> str:
        return f"<Address {self.shown}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", self.shown)]


def parse(url: object) -> Address:
    """Check a URL. Raises `ConfigError`, whose text never has the URL's credentials in it."""
    from urllib.parse import urlsplit  # noqa: PLC0415  # imported with the first URL

    url = _text(url)
    try:
        parts = urlsplit(url)
        shown = _without_credentials(parts)
    except ValueError:
        raise ConfigError(f"redis_url: cannot be read; {_EXPECTED}") from None
    scheme = _scheme(parts, url)
    if scheme in ("redis", "rediss"):
        _check_credentials(parts)
        _check_host(parts)
        _check_database(parts)
    return Address(scheme, url, _local_part(parts) if scheme in ("embedded", "memory") else parts.path, shown)


_ALLOWED = ", ".join(f"{known}://" for known in SCHEMES)
_EXPECTED = f"expected e.g. redis://localhost:6379/0, or one of {_ALLOWED}"


def _text(url: object) -> str:
    """The URL as plain text. Raises `ConfigError`."""
    if isinstance(url, str):
        return exact(url)
    hint = ", e.g. str(url)" if hasattr(url, "host") else ""
    value = f"a {type(url).__name__}" if isinstance(url, bytes) or hint else shown_value(url)
    raise ConfigError(f"redis_url: expected text{hint}, e.g. redis://localhost:6379/0, not {value}")


def _scheme(parts: SplitResult, url: str) -> Scheme:
    """The scheme. Raises `ConfigError` for an unknown one."""
    for known in SCHEMES:
        if known == parts.scheme:
            return known
    got = f"{parts.scheme}://" if parts.scheme and "://" in url else "none"
    raise ConfigError(f"redis_url: unknown scheme {got}; expected one of {_ALLOWED}")


def _check_host(parts: SplitResult) -> None:
    host = parts.netloc.rpartition("@")[2]
    if blank := templates.blank(host):
        raise ConfigError(f"redis_url: is an unfilled template: replace {blank!r} with a value")
    if "," in host:
        raise ConfigError(f"redis_url: has several hosts, {host!r}; one is expected, with one of {_ALLOWED}")
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(f"redis_url: the port in {host!r} is not one; {_EXPECTED}") from None


def _check_credentials(parts: SplitResult) -> None:
    """Raises `ConfigError` for a password with a `/`, `?` or `#`: the URL is cut there, and no host is left."""
    options = parts.query.split("&") if parts.query else []
    if parts.fragment or "@" in parts.path or not all("=" in option for option in options):
        raise ConfigError(
            "redis_url: cannot be read; write /, ? and # in a password as %2F, %3F and %23, e.g. by urllib.parse.quote"
        )


def _check_database(parts: SplitResult) -> None:
    database = parts.path.strip("/")
    if database and not database.isdecimal():
        raise ConfigError(f"redis_url: the database after the last slash is a number, not {_hidden(database)!r}")


def _local_part(parts: SplitResult) -> str:
    if parts.scheme == "memory":
        return parts.netloc + parts.path
    if parts.netloc:
        raise ConfigError(
            f"redis_url: embedded:// takes an absolute path: write embedded:///{parts.netloc}{parts.path}, 3 slashes"
        )
    return parts.path.rstrip("/")


def _without_credentials(parts: SplitResult) -> str:
    return f"{parts.scheme}://{_hidden(parts.netloc)}{_hidden(parts.path)}{'?***' if parts.query else ''}"


def _hidden(part: str) -> str:
    """The part without what stands before an `@`, also where a slash in a password has cut it in two."""
    return "***@" + part.rpartition("@")[2] if "@" in part else part
