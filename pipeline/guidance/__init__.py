"""Denoisers that can be distilled: they predict epsilon and know nothing of scenes or methods."""
