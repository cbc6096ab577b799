"""Held connections stay authenticated when a `CredentialProvider` renews its credentials.

redis-py does this when a connection goes back to its pool; ours never do. So before a connection is used, its
provider is asked now and then for credentials; if they have changed, `AUTH` is sent. If the server has closed the
connection meanwhile, the next one is made with the new credentials. (`on_next` of a provider that streams has room for
one listener, which is the client's own.) A provider is asked in its own event loop only, also for the lease thread
(`AtHome`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from ..telemetry.logs import log

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection
    from redis.credentials import CredentialProvider

ASKED_EVERY = 5.0
"""Seconds between two questions to a provider, for each connection in use."""

Credentials = tuple[str, ...]
"""User and password, or a password alone."""
_Known = tuple[Credentials, float]
_known: WeakKeyDictionary[AbstractConnection, _Known] = WeakKeyDictionary()
"""The credentials of a connection, and when its provider was asked last."""


async def stay_authenticated(connection: AbstractConnection) -> None:
    """Send `AUTH` if the connection's provider has other credentials now.

    An exception of the provider is logged. Raises the errors of redis-py: `AuthenticationError`, `ConnectionError`.
    """
    provider = connection.credential_provider
    if provider is None:
        return
    known = _known.get(connection)
    now = time.monotonic()
    if known is not None and now < known[1] + ASKED_EVERY:
        return
    try:
        credentials = tuple(await provider.get_credentials_async())
    except Exception as raised:  # noqa: BLE001  # a user's provider may raise anything
        log.error("the credential provider raised; the connection stays as it is logged in", error=raised)
        credentials = known[0] if known else ()
    if known is not None and known[0] != credentials:
        await _authenticate(connection, credentials)
    _known[connection] = (credentials, now)


class AtHome:
    """A provider that is asked only in the event loop that opened the connection, where its own objects belong.

    Another loop, such as that of the lease thread, gets the provider's last answer at once: the provider's own loop may
    be blocked, and the lease thread exists for that case. The provider is asked meanwhile, and a later question gets
    that answer.
    """

    def __init__(self, provider: CredentialProvider) -> None:
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._asked: Future[Credentials] | None = None
        self._last: Credentials | None = None

    async def get_credentials_async(self) -> Credentials:
        """Return the credentials to log in with. Raises the errors of the provider."""
        if asyncio.get_running_loop() is self._loop:
            return await self._ask()
        if self._last is None:
            return await asyncio.wrap_future(self._ask_at_home())
        if self._asked is None:
            self._asked = self._ask_at_home()
        elif self._asked.done():
            answered, self._asked = self._asked, None
            return answered.result()
        return self._last

    def _ask_at_home(self) -> Future[Credentials]:
        return asyncio.run_coroutine_threadsafe(self._ask(), self._loop)

    async def _ask(self) -> Credentials:
        self._last = tuple(await self._provider.get_credentials_async())
        return self._last


def at_home(options: Mapping[str, object]) -> Mapping[str, object]:
    """A client's options, with its credential provider at home in the running event loop."""
    provider = options.get("credential_provider")
    if provider is None:
        return options
    return {**options, "credential_provider": AtHome(cast("CredentialProvider", provider))}


async def _authenticate(connection: AbstractConnection, credentials: tuple[str, ...]) -> None:
    from redis.exceptions import AuthenticationError, ResponseError  # noqa: PLC0415  # as the connection has done

    await connection.send_command("AUTH", *credentials, check_health=False)
    try:
        await connection.read_response()
    except ResponseError as error:
        raise AuthenticationError(str(error)) from error  # the connection is unusable
