"""One module for each command, with its options and texts; `app` lists them."""
