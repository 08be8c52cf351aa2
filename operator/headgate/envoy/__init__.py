"""Plan to xDS: pure functions from the Plan's nouns to Envoy's protobuf messages, one file per concern."""
