"""The FastAPI example, with a broker that can be brought down: for tests that run it under uvicorn."""

from __future__ import annotations

from fastapi_app import app  # type: ignore[import-not-found]  # of examples/

from redis_streams_aio.consumer.settle.acknowledgements import Acknowledgements


@app.post("/break")  # type: ignore[untyped-decorator]
async def break_the_broker() -> None:
    """A bug of the library: it ends the broker when something is to be acknowledged."""

    def broken(self: Acknowledgements) -> None:
        raise ZeroDivisionError("a bug")

    Acknowledgements.depart = broken  # type: ignore[method-assign]
