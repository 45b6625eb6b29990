"""Name rows on virtual time: targets, their disks, the network and a model of the control plane.

network.py has the clock and the faulty network, targets.py the targets and their crashes,
control.py the model of the control plane, world.py the clients; checkers.py says what must hold.
Checked: every acknowledged write is in the final order exactly once, real time is respected
(linearizable names), conditions held, replicas converge.

Fair: the control plane keeps its rules (leases, floor, prepare/acknowledge/activate), a synced
record survives. test_histories.py draws faults at random, test_interleavings.py arranges them.
"""
