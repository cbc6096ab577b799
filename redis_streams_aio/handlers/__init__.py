"""Rules: what users declare with `@broker.handler(...)`, and what follows from it. Pure."""
