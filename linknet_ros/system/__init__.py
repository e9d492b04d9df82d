"""Processes, files, memory and signals."""
