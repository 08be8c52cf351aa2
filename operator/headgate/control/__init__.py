"""Decisions over time: state machines (state, observation, now) -> (state, actions), without I/O and without a clock.

Adapters make the observations and carry out the actions; tests run years of both in a second.
"""
