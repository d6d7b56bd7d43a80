"""Triangles to pixels with gradients; `interface.py` says what is promised."""
