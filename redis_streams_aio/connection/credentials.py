"""Held connections stay authenticated when a `CredentialProvider` renews its credentials.

redis-py does this when a connection goes back to its pool; ours never do. So before a connection is used, its
provider is asked now and then whether it would log in with something else by now; then `AUTH` is sent on it. A
server that has closed it meanwhile is connected to anew, with the new credentials. (The provider's `on_next`, where it
streams, has room for one listener, and that is the client's own.) Imported late: it imports redis-py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from redis.exceptions import AuthenticationError, ResponseError

from ..logs import log

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

ASKED_EVERY = 5.0
"""Seconds between two questions to a provider, for each connection in use."""

_Known = tuple[tuple[str, ...], float]
_known: WeakKeyDictionary[AbstractConnection, _Known] = WeakKeyDictionary()
"""What a connection is logged in with, and when its provider was asked last."""


async def stay_authenticated(connection: AbstractConnection) -> None:
    """Send `AUTH` if the connection's provider has other credentials now.

    What the provider raises is logged. Raises what redis-py raises: `AuthenticationError`, `ConnectionError`.
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
    except Exception as raised:  # noqa: BLE001  # the provider is the user's
        log.error("the credential provider raised; the connection stays as it is logged in", error=raised)
        credentials = known[0] if known else ()
    if known is not None and known[0] != credentials:
        await _authenticate(connection, credentials)
    _known[connection] = (credentials, now)


async def _authenticate(connection: AbstractConnection, credentials: tuple[str, ...]) -> None:
    await connection.send_command("AUTH", *credentials, check_health=False)
    try:
        await connection.read_response()
    except ResponseError as error:
        raise AuthenticationError(str(error)) from error  # the connection is of no more use
