"""Servers that misbehave below HTTP, for tests only. Those that speak HTTP are in `headgate.simulate`."""
