"""Numbers that the play goes by. Times in seconds."""

from __future__ import annotations

LEASE = 1.0
LONG_LEASE = 3.0
"""Of handlers whose line to Redis is slow while it fails over: connecting anew takes several ways there and back."""
AGAIN = 0.4
"""Until a retry, and of what is asked for later."""
FILLER_AGAIN = 0.1
"""Between two looks of those that fill the cap."""
MOST_FAILURES = 3
PATIENCE = 8.0
"""Until what must come to pass has not: far more than it takes on a busy machine."""
CLOCK = 0.005
"""By which Redis's clock and ours may differ in what is a millisecond to the one and not to the other."""
MOST_WAITING = 4
"""Entries that wait beside others where the cap is to be full: fillers beyond it are parked, or starve their order."""
COUNT = 2
"""Entries of one read; most traits are content with it."""
