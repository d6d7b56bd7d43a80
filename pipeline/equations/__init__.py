"""Every equation of the paper held against the exact mixture; `python -m pipeline.equations`."""
