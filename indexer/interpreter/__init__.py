"""Train interpreters and measure them."""
