"""How fast it is, beside a loop written by hand and beside FastStream: `nox -s bench`.

`python -m benchmarks` is the command line, `runner` starts servers and processes, `scenarios` say what is measured,
`contenders` how each library does it, `report` and `plots` show it. docs/performance.md tells what the figures say.
"""
