"""How work, commands and connections grow with nodes and streams: `python -m tests.scaling` writes the table of
docs/scaling.md.
"""
