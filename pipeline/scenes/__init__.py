"""Things that are optimised: each renders itself from cameras (see interface.py)."""
