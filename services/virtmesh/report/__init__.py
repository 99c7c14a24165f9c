"""What a driver did wrong: rules as data, and the observer that judges a device's driver by them.

A rule is a row of a table in `rules`: clause, statement, and a predicate over the dialogue of one
device. The observer (observer.py) keeps what the predicates need of the dialogue and counts
violations in the device's interrupt, where native code counts those of rings and requests too. The
hot path is not observed: registers that a driver uses while it works (QueueNotify, InterruptStatus,
InterruptACK, RBR, THR, LSR) cost nothing until an access is refused.
"""
