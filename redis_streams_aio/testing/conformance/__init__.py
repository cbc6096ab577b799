"""The conformance suite: what any event broker has to do, as tests that take the URL of a Redis.

```sh
pip install 'redis-streams-aio[testing]'
pytest --pyargs redis_streams_aio.testing.conformance --redis-url redis://localhost:6379/0
```

Tests 1 to 16 are the list that brokers are compared by, in its full numbers; the tests from 17 on show what else may go
wrong with clients and processes. Each test shows a promise of docs/promises.md and names it.

A test writes to streams that nobody else has and deletes them at its end. It changes no other key, changes nothing of
the server as a whole, and needs one URL. A test that is skipped says what it needs and cannot have.
"""
