"""geo-atlas: what an atlas of transcriptomes is, and every question that can be asked of it.

Nothing is imported here on purpose: ``import atlas`` costs no torch, faiss or transformers.
"""

__version__ = "0.1.0"
