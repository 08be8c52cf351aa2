"""`headgate check`: what is wrong with an installation, and what to do.

`reading` reads everything once, into `evidence`; the checks are small pure functions over that, listed in `table`; `command`
runs them, waits where asked, and prints. A check never reads, and reading never judges.
"""
