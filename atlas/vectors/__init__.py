"""Vectors of an atlas: the float16 master on disk, the engines that search it and what their scores mean."""
