"""Which version of sksae this is."""

__version__ = "0.1.0"
