"""A procedural world of captioned objects whose every image, view and fault is known."""
