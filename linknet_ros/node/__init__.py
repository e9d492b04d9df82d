"""The robot's node."""
