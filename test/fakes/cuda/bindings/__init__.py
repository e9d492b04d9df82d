"""Stand-in for NVIDIA's cuda-bindings; see runtime.py."""
