"""Snapshot to Plan: what was declared, resolved to the last value, and what is to be said of every object.

Pure: no clock, no I/O, no environment; the same Plan for the same Snapshot, whatever the order of its maps. One file
per feature; `upstream` has the order in which they run, `world` is the entry.
"""
