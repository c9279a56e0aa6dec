"""The scikit-learn side that all estimators share."""
