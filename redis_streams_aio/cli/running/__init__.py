"""Parts of the command `run`: a broker in this process, or in several that are watched over."""
