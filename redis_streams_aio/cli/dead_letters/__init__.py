"""Parts of the command `dead-letters`: which are meant, how they are shown, and what is done with them."""
