"""The options of each command: one module for one command, and nothing of how it is done."""
