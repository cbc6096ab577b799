"""Chaos: producers and consumers as processes, a nemesis that harms them, and a verdict over what each has noted.

`python -m tests.chaos --minutes 2 --seed 7`. docs/chaos.md says how to read what comes out.
"""
