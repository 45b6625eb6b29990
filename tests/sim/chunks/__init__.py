"""Chunk puts and gets between simulated targets and one gateway, on virtual time.

world.py runs the cores of both sides over a simulated network; target.py has one target
and its disks; faults.py says which faults are fair; checkers.py what must hold under them.
"""
