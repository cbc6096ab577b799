"""The Redis side of the jobs: each atomic step is a typed function, in one file with its Lua, keys and reply.

`consumer`, `monitoring` and `checkpoint` decide when a step runs; this folder knows how Redis does it.

Nothing outside of a step's file knows the order of a script's arguments or the form of its reply. Rules of all steps:

* All keys of a step are on one Cluster slot (`events.keys.sibling`).
* A step that must not write after its lease was lost asks first: `XPENDING key group id id 1 consumer` finds the entry
  only where the consumer still owns it.
* `XCLAIM ... JUSTID` renews an entry without counting a delivery.
* Times come from the server's clock.
* Scripts do not roll back: what may be refused comes first, or is undone.
"""
