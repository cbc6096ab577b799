"""`Retention`: what a stream keeps, by length, by age, and by what its groups have settled."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ..checks import names
from ..exceptions import ConfigError
from .checking import check_fields

_TEN_YEARS = 315_360_000
_Age = Annotated[float, Meta(gt=0, le=_TEN_YEARS)]
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Says which entries of a stream are deleted. An entry goes as soon as one of the rules that are set says so.

    `acknowledged` never deletes an entry that a group has not settled. `max_length` and `max_age` do, and warn before.
    """

    max_length: Annotated[int, Meta(ge=1)] | None = None
    """The stream keeps about this many of the newest entries: each publish trims it (`MAXLEN ~`)."""
    max_age: _Age | None = None
    """Seconds after which an entry is deleted, at most ten years."""
    acknowledged: bool = False
    """Delete entries that every group of the stream has settled. A stream without groups keeps everything."""
    keep: Annotated[float, Meta(ge=0, le=_TEN_YEARS)] = 0.0
    """Seconds for which `acknowledged` leaves settled entries in the stream, so that a group can be moved back."""
    groups: tuple[_Name, ...] = ()
    """Groups that must have settled an entry too where they do not exist yet: `acknowledged` waits for them."""
    abandoned_after: _Age | None = None
    """Seconds after which `acknowledged` no longer waits for a group that has entries to read and reads none.

    Default: it waits without a limit.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        if not (self.max_length or self.max_age or self.acknowledged):
            raise ConfigError("Retention: set max_length, max_age or acknowledged; without them nothing is deleted")
        if not self.acknowledged and any((self.keep, self.groups, self.abandoned_after)):
            raise ConfigError("Retention: keep, groups and abandoned_after belong to acknowledged=True")
        for name in self.groups:
            names.checked("groups", name)
