"""Everything that touches torch: networks, objectives, solvers. Knows nothing of scikit-learn.

Imported only where something is computed, so that ``import sksae`` and unpickling a model cost no
torch import.
"""
