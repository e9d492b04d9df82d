"""Networks of others into model files of this package."""
