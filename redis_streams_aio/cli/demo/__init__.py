"""`demo`: a week of flights as events, handled in four groups, and checked.

`performance` runs it, `handlers` is what a user would write, `publishing` sends the flights, `tally` counts what the
groups do, `verdict` compares that with what must come out, `progress` and `summary` show it.
"""

from .flights import FLIGHTS
from .performance import perform

__all__ = ["FLIGHTS", "perform"]
