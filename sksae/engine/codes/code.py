"""The protocol of a code: a way to be sparse, and all that the engine needs to know of it.

A code has up to five parts, each a method or an attribute below with a default that does nothing:

1. how it is made: `select` changes activations in place, in training and at inference;
2. parameters of its units that are learnt besides weights and biases: those of its activation;
3. the penalty S, of mean codes (`mean_penalty`) or of each row's code (`row_penalty`);
4. how beta="auto" moves beta: `law`, and the `activity` that is brought to rho;
5. what follows a step of the solver: `revives_units`.

Nothing else in the engine asks which code it is.
"""

from typing import ClassVar

from torch import Tensor

from sksae.engine.control_law import ControlLaw


class Code:
    """No penalty at all, and the defaults of those that have one.

    In training codes have shape (n_models, n_components, n_rows); means over rows, ``rho`` and
    ``beta`` (n_models, n_components, 1).

    Parameters
    ----------
    activation : str
        Of its units.

    Attributes
    ----------
    law : ControlLaw or None
        How beta="auto" moves beta; None where there is none.
    penalises_means : bool
        Whether S is a function of mean codes, which couples the rows: they must be known before
        the way back.
    revives_units : bool
        Whether units that died begin anew where beta is to be found.
    """

    law: ClassVar[ControlLaw | None] = None
    penalises_means: ClassVar[bool] = False
    revives_units: ClassVar[bool] = False

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def select(self, code: Tensor, n_active: int, axis: int) -> None:
        """Leave of activations what the code keeps, in place.

        Parameters
        ----------
        code : Tensor
            Activations; what is not kept becomes 0, where the activation must have no gradient.
        n_active : int
            How many units are kept in each row.
        axis : int
            Along which the units of a row lie.
        """

    def activity(self, mean_code: Tensor) -> Tensor:
        """Return the mean over units of the mean activation, where rho is compared with that."""
        raise NotImplementedError

    def mean_penalty(self, mean_code: Tensor, rho: Tensor) -> Tensor:
        """Return S as a function of the mean code, shape (n_models,)."""
        raise NotImplementedError

    def mean_gradient(self, mean_code: Tensor, rho: Tensor, beta: Tensor) -> Tensor:
        """Return beta times the gradient of `mean_penalty` by the mean code."""
        raise NotImplementedError

    def row_penalty(self, code: Tensor) -> Tensor | None:
        """Return the function of each row's code whose mean is S, shape (n_models, n_rows)."""
        return None

    def row_gradient(self, code: Tensor, beta: Tensor) -> Tensor | None:
        """Return beta times the gradient of `row_penalty` by the code."""
        return None
