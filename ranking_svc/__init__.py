"""Rankings: what all ratings together say."""
