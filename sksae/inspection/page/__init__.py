"""The report: what is on the page, how it looks and how it is written."""
