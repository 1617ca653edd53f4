"""Faults done on purpose to a build or a service, and what comes of them."""
