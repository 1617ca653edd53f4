"""One stage a file, named ``<verb>_<noun>.py``; each exports its ``STAGE``. The order lives in ``indexer.plan``."""
