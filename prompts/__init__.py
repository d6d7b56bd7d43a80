"""Prompt sets as data, their loader, and view-dependent wording: PyYAML and torch, nothing else."""
