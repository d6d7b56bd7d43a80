"""Triangle meshes that users hand over: read, oriented, unwrapped, baked, written as GLB."""
