"""Language models behind an API, and what stands in for them in tests; `base` is the protocol."""
