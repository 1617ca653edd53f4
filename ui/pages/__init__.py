"""One module a page, each with ``page(service, release)``; ``ui.app`` lists them and draws what surrounds them."""
