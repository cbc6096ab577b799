"""The budget of an event: how many instructions each of its stages may cost, held by the gate.

Times differ from run to run and from machine to machine; the number of executed instructions does not. A program of its
own (`child`) drives a whole `Broker` from the bytes of a reply to the bytes of the acknowledgement, and counts:

* **Bytecode instructions** of our own code, by stage. A stage is a group of modules (`stages`). They depend on the
  minor version of Python only, and are held on the one that `budgets.json` names.
* **Machine instructions** of the whole process, by library, under `valgrind --tool=callgrind` where it is installed.
  They depend on the build of Python too, and are held on the build that `budgets.json` names.
* **Tasks, timers, futures and turns** of the event loop, which an event must not need at all.

Every count is a difference: the count for twice as many events less the count for them, so what a read, a start or an
end costs is in it only as often as events cause it. Nothing is left to chance: the server is in the process and has its
replies ready (`canned`), a clock of its own moves only when nothing else is to be done, and no thread runs.

`python -m tests.budget` prints what is measured beside the budget, and writes the table of docs/performance.md.
`python -m tests.budget --renew` writes `budgets.json` too: look at its diff, a budget that rises needs a reason.
A stage that costs more than its budget fails the gate; so does one that costs much less: what was gained is to be kept.
After moving or adding modules, look at `stages.STAGES`: a module that no stage names counts as *the rest*.
"""
