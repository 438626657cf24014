"""Devices, memory, distributed processes, and the cost of a computation."""
