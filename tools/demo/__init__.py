"""`make demo`: the examples, served by a real gateway in front of simulated providers, in scenes that prove themselves."""
