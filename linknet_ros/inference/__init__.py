"""A model file and a frame in, labels out."""
