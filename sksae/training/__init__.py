"""From what is asked for and rows to a fitted network; no estimator is known here."""
