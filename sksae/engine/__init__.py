"""Everything that touches torch: networks, objectives, solvers. Knows nothing of scikit-learn.

Imported only where something is computed, so that ``import sksae`` and unpickling a model cost no
torch import.
"""

from sksae.process.forks import keep_inherited_torch_to_one_thread

keep_inherited_torch_to_one_thread()
