"""Stand-ins for third-party APIs, for tests only: real sockets, real TLS, real HTTP, on loopback."""
