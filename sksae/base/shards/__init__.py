"""Rows in many files: which they are, how each kind is read, and all of them as one matrix."""
