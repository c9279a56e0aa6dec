"""The code of tokens: that of `engine.codes`, on the way that autograd can go back.

Selected units pass the gradient, and others none, as in the closed forms of dense networks.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sksae.engine.codes import make_code
from sksae.engine.codes.code import on_all
from sksae.model.codes import CODES, Selection

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
}


class TokenCode:
    """What makes codes of pre-activations, and the sparsity term of them.

    Parameters
    ----------
    sparsity : str or None
        The name of the code.
    selection : Selection or None
        What it keeps of its units; with a threshold once that is known.
    """

    def __init__(self, sparsity: str | None, selection: Selection | None) -> None:
        activation = CODES[sparsity].activation
        self._activate = ACTIVATIONS[activation]
        self._code, self.selection = make_code(sparsity, activation), selection
        self._guess = np.zeros(1)

    def __call__(self, pre: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the codes of tokens.

        Parameters
        ----------
        pre : Tensor of shape (n_tokens, n_components)
            Pre-activations; of all tokens of a minibatch where there is no threshold yet.
        weight : Tensor of shape (n_tokens,), optional
            What each counts; all alike by default.
        """
        activations = self._activate(pre)
        if self.selection is None:
            return activations
        kept, selection = activations.detach().clone(), self.selection
        if selection.threshold is None:
            weights = None if weight is None else weight.view(1, -1, 1)
            bound = self._code.bound(
                on_all([(pre.detach().unsqueeze(0), weights)]),
                len(pre) if weights is None else float(weights.sum()),
                [selection.n_active],
                self._guess,
            )
            if bound is not None:
                self._guess = bound
                selection = selection._replace(threshold=float(bound[0]))
        self._code.select(kept, selection, -1)
        return activations * (kept > 0.0)

    def penalty(self, code: Tensor, weight: Tensor | None, total: float, rho: float) -> Tensor:
        """Return S of the codes of a minibatch's tokens; 0 where there is none.

        Parameters
        ----------
        code : Tensor of shape (n_tokens, n_components)
            Codes.
        weight : Tensor of shape (n_tokens,) or None
            What each token counts.
        total : float
            What the tokens of such a minibatch count together on average, by which sums over
            tokens are divided.
        rho : float
            Wanted share of active units.
        """
        if self._code.penalises_means:
            mean = code.mean(dim=0) if weight is None else weight @ code / weight.sum()
            wanted = code.new_full((1, 1, 1), rho)
            return self._code.mean_penalty(mean.view(1, -1, 1), wanted).sum()
        of_tokens = self._code.row_penalty(code.t().unsqueeze(0))
        if of_tokens is None:
            return code.new_zeros(())
        return (of_tokens[0] if weight is None else of_tokens[0] * weight).sum() / total
