"""Fits in several processes that another program starts: Ray."""

from sksae.distributed.fit_on_ray import fit_on_ray

__all__ = ["fit_on_ray"]
