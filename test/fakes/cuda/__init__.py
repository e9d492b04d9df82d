"""Stand-in for NVIDIA's cuda-bindings; see bindings/runtime.py."""
