"""Headgate: a Kubernetes operator for the third-party APIs that software depends on."""

__version__ = "0.1.0"
