"""Simulated providers: servers on loopback that answer as third-party APIs do, for `headgate run --simulate` and for tests.

Real sockets, real TLS under the providers' own names, real HTTP. Whoever imports a module here besides `certificates`
needs the extra `headgate[simulate]`; no other package of Headgate imports what is in it.
"""
