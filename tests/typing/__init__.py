"""Programs that mypy and pyright read (`nox -s types`), and that nobody runs: each marked line must be an error."""
