"""Endurance and fault trials of the node; `make soak` runs them all, test_soak.py a short form.

A trial is a function of a Rig or a folder that raises AssertionError where the node fails it and
returns its figures. The node is in a process of its own, as on a robot.
"""
