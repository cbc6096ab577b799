"""A soak: hours of work in twenty minutes, to see what grows (`python -m tests.soak`, `nox -s soak`).

One process publishes and handles at full speed, in every way that a subscription can work, while other consumers come,
go and crash, and connections are cut. At the same point of every turn a sample is taken: memory, file descriptors,
tasks, threads, connections, consumers, keys. What is higher at the end than after the warm-up, by more than it may be,
is a leak and fails the run; so does an event that was published and never handled.

`load` has the work, `course` the turns, `samples` what is measured, `verdict` the judgement, `picture` its drawing.
"""
