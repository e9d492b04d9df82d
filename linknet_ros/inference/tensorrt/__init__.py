"""TensorRT: building, caching and running engines."""
