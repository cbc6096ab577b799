"""`python -m redis_streams_aio` is `redis-streams-aio`."""

from .cli import main

if __name__ == "__main__":
    main()
