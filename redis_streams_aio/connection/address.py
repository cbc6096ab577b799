"""Addresses: what a URL means, and how it is shown without its credentials. Pure.

| kind | leads to | URL |
|---|---|---|
| `one` | one server, whichever answers there | `redis://host:6379/0`, `unix://`, `embedded://`, `memory://` |
| `sentinel` | the primary that the Sentinels name | `redis+sentinel://host:26379,host:26379/NAME/0` |
| `cluster` | all nodes of a Cluster, found from these hosts | `redis+cluster://host:6379,host:6379` |

`rediss...` is the same over TLS, to the Sentinels too. User, password and options in a URL are those of the servers;
Sentinels are logged in to with `?sentinel_username=&sentinel_password=`, and without these not at all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from ..checks import templates
from ..checks.names import exact
from ..checks.values import shown as shown_value
from ..exceptions import ConfigError
from .hosts import Host, read_hosts

if TYPE_CHECKING:
    from urllib.parse import SplitResult

CONNECT_TIMEOUT = 5.0
"""Seconds for one TCP or TLS connection to come about."""

Kind = Literal["one", "sentinel", "cluster"]
Scheme = Literal[
    "redis",
    "rediss",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
    "unix",
    "embedded",
    "memory",
]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
_KINDS: dict[str, Kind] = {"sentinel": "sentinel", "cluster": "cluster"}
_PORTS: dict[Kind, int] = {"one": 6379, "sentinel": 26379, "cluster": 6379}
OF_SENTINELS = ("sentinel_username", "sentinel_password")
"""Options that the Sentinels are logged in to with."""
_OF_SERVERS = ("db", "username", "password")
"""Options that Sentinels do not have."""


class Address(msgspec.Struct, frozen=True):
    """Where the server is, or those that know where it is."""

    scheme: Scheme
    url: str
    path: str
    """`embedded://`: the data folder, `""` for a temporary one; `memory://`: the name, `""` for one of its own."""
    shown: str
    """The URL without credentials, for logs and errors."""
    hosts: tuple[Host, ...] = ()
    """The server, the Sentinels, or nodes of the Cluster; none where there is no port."""
    service: str = ""
    """The name by which the Sentinels know the primary."""

    @property
    def kind(self) -> Kind:
        """`one` server, the primary that a `sentinel` names, or a `cluster`."""
        return _kind(self.scheme)

    def at(self, host: Host) -> Address:
        """Return the plain address of one server there, with the same credentials, database and options."""
        parts = _split(self.url)
        database = _beyond_the_service(parts) if self.kind == "sentinel" else parts.path.strip("/")
        return self._plain(host, parts.netloc.rpartition("@")[0], database, OF_SENTINELS)

    def sentinel_at(self, host: Host) -> Address:
        """Return the plain address of one Sentinel there, with the credentials of Sentinels."""
        from urllib.parse import parse_qsl, quote  # noqa: PLC0415  # imported with the first URL

        given = dict(parse_qsl(_split(self.url).query, keep_blank_values=True))
        user, password = (quote(given.get(name, ""), safe="") for name in OF_SENTINELS)
        return self._plain(host, f"{user}:{password}" if password else "", "", (*OF_SENTINELS, *_OF_SERVERS))

    def _plain(self, host: Host, login: str, database: str, without: tuple[str, ...]) -> Address:
        scheme: Scheme = "rediss" if self.scheme.startswith("rediss") else "redis"
        options = [each for each in _split(self.url).query.split("&") if each.partition("=")[0] not in without]
        place = f"{scheme}://{f'{login}@' if login else ''}{host.shown}{f'/{database}' if database else ''}"
        query = "&".join(options)
        return parse(f"{place}?{query}" if query else place)

    def __repr__(self) -> str:
        return f"<Address {self.shown}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", self.shown)]


def parse(url: object) -> Address:
    """Check a URL. Raises `ConfigError`, whose text never has the URL's credentials in it."""
    url = _text(url)
    try:
        parts = _split(url)
        shown = _without_credentials(parts)
    except ValueError:
        raise ConfigError(f"redis_url: cannot be read; {_EXPECTED}") from None
    scheme = _scheme(parts, url)
    if scheme in ("unix", "embedded", "memory"):
        return Address(scheme, url, parts.path if scheme == "unix" else _local_part(parts), shown)
    _check_credentials(parts)
    kind = _kind(scheme)
    hosts = _hosts(parts, kind)
    service = _service(parts, shown) if kind == "sentinel" else ""
    if "sentinel_username=" in parts.query and "sentinel_password=" not in parts.query:
        raise ConfigError(f"redis_url: {shown}: has a sentinel_username without a sentinel_password")
    _check_database(_beyond_the_service(parts) if kind == "sentinel" else parts.path.strip("/"), kind, parts)
    return Address(scheme, url, parts.path, shown, hosts, service)


def _split(url: str) -> SplitResult:
    """The parts of a URL, of which `urlsplit` would refuse some that list hosts. Raises `ValueError`."""
    from urllib.parse import urlsplit  # noqa: PLC0415  # imported with the first URL

    scheme, found, rest = url.partition("://")
    if not found or "+" not in scheme:
        return urlsplit(url)
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    return urlsplit(f"//{rest[len(netloc) :]}")._replace(scheme=scheme.lower(), netloc=netloc)


def _kind(scheme: str) -> Kind:
    return _KINDS.get(scheme.partition("+")[2], "one")


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


def _hosts(parts: SplitResult, kind: Kind) -> tuple[Host, ...]:
    """The hosts that a URL names. Raises `ConfigError`."""
    text = parts.netloc.rpartition("@")[2]
    if kind != "one":
        return read_hosts(text, _PORTS[kind])
    if blank := templates.blank(text):
        raise ConfigError(f"redis_url: is an unfilled template: replace {blank!r} with a value")
    if "," in text:
        raise ConfigError(
            f"redis_url: has several hosts, {text!r}; write {parts.scheme}+cluster://{text} for the nodes of a "
            f"Cluster, or {parts.scheme}+sentinel://{text}/NAME/0 for Sentinels that know a primary by this name"
        )
    try:
        return (Host(parts.hostname or "localhost", parts.port or _PORTS[kind]),)
    except ValueError:
        raise ConfigError(f"redis_url: the port in {text!r} is not one; {_EXPECTED}") from None


def _service(parts: SplitResult, shown: str) -> str:
    """The name of the primary. Raises `ConfigError` where there is none, or only a database."""
    from urllib.parse import unquote  # noqa: PLC0415  # imported with the first URL

    name, slash, _ = parts.path.removeprefix("/").partition("/")
    if not name or (name.isdecimal() and not slash):
        raise ConfigError(
            f"redis_url: {shown}: has no name of a primary; write {parts.scheme}://host:26379/NAME/0, with the name "
            "in the Sentinels' 'sentinel monitor NAME ...'"
        )
    if blank := templates.blank(name):
        raise ConfigError(f"redis_url: is an unfilled template: replace {blank!r} with a value")
    return unquote(name)


def _beyond_the_service(parts: SplitResult) -> str:
    """Return the number of a database behind the name of the primary, or nothing."""
    return parts.path.removeprefix("/").partition("/")[2].strip("/")


def _check_credentials(parts: SplitResult) -> None:
    """Raises `ConfigError` for a password with a `/`, `?` or `#`: the URL is cut there, and no host is left."""
    options = parts.query.split("&") if parts.query else []
    if parts.fragment or "@" in parts.path or not all("=" in option for option in options):
        raise ConfigError(
            "redis_url: cannot be read; write /, ? and # in a password as %2F, %3F and %23, e.g. by urllib.parse.quote"
        )


def _check_database(database: str, kind: Kind, parts: SplitResult) -> None:
    if database and not database.isdecimal():
        raise ConfigError(f"redis_url: the database after the last slash is a number, not {_hidden(database)!r}")
    chosen = [database, *(each[3:] for each in parts.query.split("&") if each.startswith("db="))]
    if kind == "cluster" and any(each.strip("0") for each in chosen):
        raise ConfigError("redis_url: a Cluster has database 0 only; remove the database, and name streams apart")


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
