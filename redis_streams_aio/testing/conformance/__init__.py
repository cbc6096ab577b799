"""The conformance suite: what any event broker has to do, as tests that take the URL of a Redis.

```sh
pip install 'redis-streams-aio[testing]'
pytest --pyargs redis_streams_aio.testing.conformance --redis-url redis://localhost:6379/0
```

1 to 16 are the list that brokers are compared by, in its full numbers; from 17 on stands what else may go wrong with
clients and processes. Each test shows a promise of docs/promises.md and names it.

A test writes to streams that nobody else has and deletes them at its end; it touches nothing of anybody else's, asks
nothing of the server as a whole, and counts on no more than one URL. What it needs and cannot have, it says when it is
skipped.
"""
