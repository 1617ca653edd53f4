"""One module a resource; each handler reads its parameters, asks the atlas and returns the answer as JSON."""
