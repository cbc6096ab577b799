"""A table of pairs: what features and circumstances do to each other, one test for each cell that makes sense.

Most faults of a broker lie where two good parts meet: a copy that waits and a process that drains, leases and a far
Redis. So each trait (a feature that a handler uses, or a circumstance that befalls it) is a small value in `traits`,
and one play puts any two of them on a stage: broker A has an event in its hands, broker B comes up beside it, the
circumstance happens, and in the end everything has to be settled. What must hold is computed from the books
(`invariants`), so that no cell has expectations of its own.

`table` knows the cells, and writes them into docs/reliability.md.
"""
