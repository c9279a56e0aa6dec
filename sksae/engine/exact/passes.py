"""Some rows on their way through a dictionary: to pre-activations, and from active units to rows.

    p = W_enc z + c,    a_j = f(p_j), max(p_j, 0) say, of the units that the code keeps,
    z_hat_q = g(b + sum of a_j D_j over the q largest of them),    for each budget q,
    or over the first m of all units,    for each prefix m.

With rows z less their mean this is W_enc (z - b) + c' for c' = c + W_enc b: b may move without c.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from sksae.engine.codes.code import Active, Code, Keeping
from sksae.engine.exact.bags import Bags, Readings, sum_in_bags
from sksae.engine.parameters import Parameters
from sksae.engine.products import HalfProducts, Operand, products_for
from sksae.model.codes import Selection


def selections_of(parameters: Parameters) -> list[Selection]:
    """Return what the code of each dictionary keeps."""
    return [selection for selection in parameters.selections if selection is not None]


def fixed_bounds(selections: Sequence[Selection]) -> np.ndarray | None:
    """Return the thresholds of models side by side, where they are known, shape (n_models,)."""
    thresholds = [selection.threshold for selection in selections]
    return None if None in thresholds else np.array(thresholds)


def atoms_of(parameters: Parameters) -> Tensor:
    """Return the atoms of all models, those of the second one below those of the first.

    Returns
    -------
    atoms : Tensor of shape (n_models * n_components, n_features)
        A view.
    """
    return parameters.weights[1].view(-1, parameters.architecture.sizes[-1])


class Encoding:
    """The pre-activations of rows, portion by portion: to be gone through as often as is needed.

    Parameters
    ----------
    encoders : sequence of callable
        Each returns those of a portion; they may have the same memory.
    """

    def __init__(self, encoders: Sequence[Callable[[], Tensor]]) -> None:
        self._encoders = encoders

    def __iter__(self) -> Iterator[Tensor]:
        return (encode() for encode in self._encoders)


class Decoded(NamedTuple):
    """What entries add up to.

    Attributes
    ----------
    active : Active
        The entries in the order of their bags.
    bags : Bags
        Those of each row and reading.
    output : Tensor of shape (n_models, n_rows, n_readings, n_features)
        Rows that are made, before the output's activation.
    """

    active: Active
    bags: Bags
    output: Tensor


class Passage:
    """Room for some rows, and their ways through a dictionary.

    Attributes
    ----------
    pre : Tensor of shape (n_models, n_rows, n_components)
        Pre-activations.

    Parameters
    ----------
    parameters : Parameters
        Of dictionaries side by side (see `Architecture.is_dictionary`).
    n_rows : int
        How many rows.
    readings : Readings
        By which budgets they are read.
    half : bool, default=False
        Whether the encoder's product is in bfloat16.
    """

    def __init__(
        self, parameters: Parameters, n_rows: int, readings: Readings, *, half: bool = False
    ) -> None:
        self.parameters, self._readings = parameters, readings
        self._selections = selections_of(parameters)
        flat, n_components = parameters.flat, parameters.architecture.n_components
        self.pre = flat.new_empty(parameters.n_models, n_rows, n_components)
        self._pre = Operand(self.pre)
        self._products = HalfProducts(flat.device) if half else products_for(flat.device)
        self._rows: Operand | None = None

    def encode(self, rows: Tensor) -> Tensor:
        """Return the pre-activations of rows of shape (1, n_rows, n_features)."""
        operand = Operand(rows)
        if self._rows is None or not operand.is_same_as(self._rows):
            self._rows = operand
            weight = self.parameters.operands[0].mT
            self._affine = self._products.affine(operand, weight, self._pre)
        self._affine(self.parameters.biases[0].mT)
        return self.pre

    def choose(self, code: Code, bound: np.ndarray | None, bandwidth: float = 0.0) -> Active:
        """Return the entries of the codes of the rows that were encoded.

        Parameters
        ----------
        code : Code
            Says which are kept.
        bound : ndarray of shape (n_models,) or None
            What couples these rows to others.
        bandwidth : float, default=0.0
            As in `Keeping`.
        """
        found = []
        for model, selection in enumerate(self._selections):
            keeping = Keeping(
                selection.n_active,
                None if bound is None else float(bound[model]),
                {name: each[model, :, 0] for name, each in self.parameters.units[0].items()},
                bandwidth,
            )
            found.append(code.active(self.pre[model], keeping))
        _, n_rows, n_components = self.pre.shape
        return Active.of_models(found, n_components, n_rows)

    def decode(self, active: Active) -> Decoded:
        """Return what the active units of all rows add up to, for each reading."""
        n_models, n_rows, n_components = self.pre.shape
        n_readings = self._readings.n_readings
        active, bags = self._readings.read(active, n_rows, n_components)
        output = self.sum_up(active.units, bags, active.values)
        output = output.view(n_models, n_rows, n_readings, -1)
        output[:, :, 0].add_(self.parameters.biases[1])
        for reading in range(1, n_readings):
            output[:, :, reading].add_(output[:, :, reading - 1])
        return Decoded(active, bags, output)

    def rebuild_from_gates(self, active: Active, bags: Bags) -> Tensor:
        """Return what the gates of all rows add up to, shape (n_models, n_rows, 1, n_features)."""
        assert active.gates is not None
        made = self.sum_up(active.units, bags, active.gates)
        n_models, n_rows, _ = self.pre.shape
        return made.view(n_models, n_rows, 1, -1).add_(self.parameters.biases[1].unsqueeze(2))

    def by_row(self, active: Active, values: Tensor) -> Tensor:
        """Return the sums over rows of numbers that entries have, shape (n_models, n_rows)."""
        n_models, n_rows, _ = self.pre.shape
        sums = values.new_zeros(n_models * n_rows)
        return sums.index_add_(0, active.rows, values).view(n_models, n_rows)

    def sum_up(self, units: Tensor, bags: Bags, values: Tensor) -> Tensor:
        """Return the sum of the atoms of each bag, times values of its entries.

        Parameters
        ----------
        units : Tensor of int32 of shape (n_entries,)
            Whose atoms.
        bags : Bags
            Of the entries.
        values : Tensor of shape (n_entries,)
            What atoms are multiplied by.

        Returns
        -------
        sums : Tensor of shape (n_bags, n_features)
        """
        return sum_in_bags(atoms_of(self.parameters), units, bags.starts, values)
