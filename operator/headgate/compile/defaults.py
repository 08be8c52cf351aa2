"""Every value that compile fills in where neither the declaration nor the provider's profile has one.

Durations are milliseconds.
"""

from __future__ import annotations

from headgate.model.answers import ResetFormat, ResetHeader, StatusRange
from headgate.model.plan import RetryTrigger

# Where calls go
PORT_TLS = 443
PORT_PLAIN = 80
LISTENER_PORT = 8080

# Timeouts
REQUEST = 60_000
CONNECT = 5_000
STREAM_IDLE = 300_000

# RetryPolicy
ATTEMPTS = 2
TRIGGERS = (RetryTrigger.CONNECT_FAILURE, RetryTrigger.REFUSED_STREAM, RetryTrigger.RESET_BEFORE_REQUEST)
RETRIED_STATUSES = (429, 502, 503, 504)
RETRIED_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PUT")
BACK_OFF_BASE = 100
BACK_OFF_FACTOR = 10  # the longest wait, in first waits
HINT_MAX = 30_000
RESET_HEADERS = (ResetHeader("retry-after", ResetFormat.RETRY_AFTER),)

# CircuitBreaker
CONSECUTIVE_FAILURES = 5
RATE_WINDOW = 30_000
RATE_MINIMUM = 10
FAILURES = (StatusRange(500, 599),)
BREAK = 30_000
BREAK_FACTOR = 10  # the longest break, in first breaks
TRIALS = 1

# Active health checks
CHECK_METHOD = "GET"
CHECK_INTERVAL = 10_000
CHECK_TIMEOUT = 2_000
CHECK_UNHEALTHY = 3
CHECK_HEALTHY = 1
CHECK_EXPECTED = (StatusRange(200, 299),)

# Probes
PROBE_INTERVAL = 300_000
PROBE_EXPECTED = (StatusRange(200, 299),)
