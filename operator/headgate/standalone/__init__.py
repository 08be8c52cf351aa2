"""Envoy as a child of `headgate run`: started, watched, drained, left alone by a crash, and taken over afterwards.

`state` is the directory that outlives a run, `process` tells one process from a later one with the same id, `admin` asks
Envoy, `launch` says what it is started with, and `supervisor` keeps one Envoy per gateway alive. Called by `app` alone;
everything runs on one event loop.
"""
