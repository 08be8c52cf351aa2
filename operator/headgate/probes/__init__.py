"""The prober: questions of `control` go out over HTTP and come back as answers. Called by `app`, on one event loop.

A probe goes straight to the provider, past the proxies, so that no limit and no breaker counts it; it is held to what the
proxies are held to: where it may go, whom it believes, and that no key shows anywhere.
"""
