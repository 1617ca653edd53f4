"""How good a model is, measured: zero-shot labels, retrieval, phrases, integration, each beside its baselines."""
