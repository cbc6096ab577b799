"""Words: what lies in Redis, and what a handler sees of it. Pure, without input or output."""
