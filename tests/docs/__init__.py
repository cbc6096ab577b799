"""Programs that read the docs and the code's prose: `tests/test_words.py` and docs/errors.md use them."""
