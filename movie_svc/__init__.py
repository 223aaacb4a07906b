"""Movie metadata: what OMDb knows, kept close and served fast."""
