"""The ADS server: takes each gateway's immutable Resources, serves them to its proxies, and tells what they made of them.

Above it are `app` and `cli`; below it only `envoy.resource` and `model.refs`. It knows nothing of kinds or of the Plan.
"""
