"""What shows the promises, for users as for us: a kit for tests, a conformance suite, and chaos."""
