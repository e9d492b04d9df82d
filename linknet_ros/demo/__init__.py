"""The demo: camera, node and planner on this machine."""
