"""Rules for handlers: the declarations by `@broker.handler(...)`, and the decisions that follow from them. Pure."""
