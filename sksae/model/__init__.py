"""Plain values that all storeys share; neither torch nor scikit-learn is imported here."""
