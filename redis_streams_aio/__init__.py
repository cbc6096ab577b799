"""An event broker for asyncio on Redis Streams: publish events, handle them in decorated coroutines, lose none.

Start with `Broker`. Its parts can also be used without it. The README has a first example, docs/ has the rest.

Importing the package is cheap, because every pytest run imports it for the plugin. The public names are imported from
`_public` when one of them is first used.
"""

from typing import TYPE_CHECKING

from .version import __version__ as __version__

if TYPE_CHECKING:
    from ._public import *  # noqa: F403  # `__all__` lists the names
    from ._public import __all__ as __all__
else:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used. Public names begin with a capital letter; modules do not."""
        if name == "__all__" or name[:1].isupper():
            from . import _public  # noqa: PLC0415  # on first use

            for each in ("__all__", *_public.__all__):
                globals().setdefault(each, getattr(_public, each))  # a replacement by a test stays
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        __getattr__("__all__")
        return sorted(globals())
