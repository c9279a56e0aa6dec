"""Pictures of what was learnt, one class each; matplotlib is imported when they are drawn."""
