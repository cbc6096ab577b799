"""Rules for handlers: how `@broker.handler(...)` declares them, and what becomes of an event after a failure. Pure.

`retry.decide` decides about failures, and `fates` lists all decisions. Decisions before a handler is called are in
`consumer.work.attempt`.
"""
