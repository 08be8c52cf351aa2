"""What black-box tests stand on: certificates, DNS, process runners, load. Loopback only."""
