"""An event broker for asyncio on Redis Streams: publish events, handle them in decorated coroutines, lose none.

Start with `Broker`. The parts that it is made of can be used without it. The README has the thirty-second example,
docs/ the rest.

Importing the package costs next to nothing: every pytest run where it is installed does that, for the plugin. What is
`_public` is imported when something of it is first asked for.
"""

from typing import TYPE_CHECKING

from .version import __version__ as __version__

if TYPE_CHECKING:
    from ._public import *  # noqa: F403  # its `__all__` says what
    from ._public import __all__ as __all__
else:

    def __getattr__(name: str) -> object:
        """What is public. It begins with a capital letter; modules, which Python asks for too, do not."""
        if name == "__all__" or name[:1].isupper():
            from . import _public  # noqa: PLC0415  # only now

            for each in ("__all__", *_public.__all__):
                globals().setdefault(each, getattr(_public, each))  # what a test has put there stays
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        __getattr__("__all__")
        return sorted(globals())
