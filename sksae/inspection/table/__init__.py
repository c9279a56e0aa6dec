"""The table of units: how alike atoms are, what units have to do with y, and labels of units."""
