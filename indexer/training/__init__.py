"""Training of joint models: where pairs of text and expression come from, what is held out, and how towers learn."""
