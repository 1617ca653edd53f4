"""The landscape of an atlas: its neighbour graph, clusters, map, and the words that fit each cluster."""
