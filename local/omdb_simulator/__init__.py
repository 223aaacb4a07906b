"""A stand-in for OMDb: answers like it, and fails like it on request."""
