"""`Defaults`: options of a router or a broker for handlers that do not name them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..checks import names
from ..checks.values import shown
from ..codecs import Codec
from ..exceptions import ConfigError
from . import options as handler_options
from .declaration import Declaration
from .options import FILLED, HandlerOptions, Middleware
from .retry import RetryPolicy


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """Options for handlers that do not name them. `None`: no default."""

    group: str | None = None
    retry: RetryPolicy | None = None
    lease: float | None = None
    concurrency: int | None = None
    middleware: Sequence[Middleware] = ()
    """Runs around the middleware of the handler."""
    follow_ups: Middleware | None = None
    """Takes the follow-ups of a handler through the publish middleware; `None` if there is none."""
    codec: Codec | None = None
    prefix: str = ""
    """Put before the names of the streams."""

    def checked(self) -> Defaults:
        """Return the defaults as they are kept. Raises `ConfigError` for values that cannot work."""
        said = {name: value for name in FILLED if (value := getattr(self, name)) is not None}
        options = HandlerOptions("stream", middleware=self.middleware, **said)
        for problem in (*handler_options.problems(options), prefix_problem(self.prefix)):
            if problem is not None:
                raise ConfigError(problem)
        kept = handler_options.normal(options)
        filled = {name: getattr(kept, name) for name in said}
        return Defaults(middleware=kept.middleware, prefix=names.exact(self.prefix), **filled)

    def apply(self, declared: Declaration) -> Declaration:
        """Return the handler with these defaults for the options that it does not name."""
        filled = {
            name: value
            for name in FILLED
            if (value := getattr(self, name)) is not None and not _is_said(declared, name)
        }
        options = msgspec.structs.replace(
            declared.options,
            stream=self.prefix + declared.options.stream,
            middleware=self._around(declared),
            **filled,
        )
        return msgspec.structs.replace(declared, options=options, said=declared.said | filled.keys())

    def _around(self, declared: Declaration) -> tuple[Middleware, ...]:
        """Return all middleware around a handler.

        Follow-ups of the handler are passed on innermost, and those of its middleware outermost.
        """
        around = (*self.middleware, *declared.options.middleware)
        if self.follow_ups is None or not (around or declared.takes_delivery):
            return around
        return (self.follow_ups, *around, self.follow_ups) if around else (self.follow_ups,)


def _is_said(declared: Declaration, name: str) -> bool:
    """Whether a handler names an option itself. Where `None` is the default, anything else is named."""
    if name in ("group", "codec"):
        return getattr(declared.options, name) is not None
    return name in declared.said


def prefix_problem(given: object) -> str | None:
    """Say what is wrong with a prefix of names of streams; `None` if it is valid."""
    if not isinstance(given, str):
        return f"prefix={shown(given)}: expected text"
    if given and (wrong := names.problem(given)):
        return f"prefix: the name {wrong}"
    return None
