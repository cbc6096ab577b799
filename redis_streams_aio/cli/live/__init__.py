"""Live figures: groups measured again and again (`measuring`), and shown on a screen (`screen`)."""
