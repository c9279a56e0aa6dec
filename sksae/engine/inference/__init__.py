"""A trained network at work: rows to codes, codes to rows, and how well they agree."""
