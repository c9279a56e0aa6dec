"""What an estimator's parameters ask for, resolved and checked as far as no rows are needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from sksae.model.codes import CODES, Selection
from sksae.model.pursuit import Pursuit, chooses_few
from sksae.model.scaling import has_scaled_norm, row_range
from sksae.training import defaults, validation
from sksae.training.pursuit import resolve_pursuit
from sksae.training.readings import resolve_budgets, resolve_prefixes

# Parameters that say how a fitted network is read: trainings do not differ by them.
READ_WITH = ("sparse_output", "transform_n_active", "transform_algorithm")


@dataclass(frozen=True)
class TrainingSpecification:
    """How any of the networks is to be trained; as the parameters of the same names say.

    Attributes
    ----------
    given : mapping
        All parameters as the user gave them.
    usual : mapping
        Their defaults.
    """

    alpha: float | None
    solver: str
    learning_rate: float | str
    learning_rate_schedule: str
    momentum: float
    batch_size: int | str
    max_iter: int | str
    tol: float
    n_iter_no_change: int | str
    early_stopping: bool
    validation_fraction: float
    shuffle: bool
    dtype: str
    device: str
    verbose: bool | int
    random_state: int | np.random.RandomState | None
    given: Mapping[str, Any] = field(repr=False, compare=False)
    usual: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, given: Mapping[str, Any], usual: Mapping[str, Any], **resolved: Any) -> Self:
        """Return what parameters ask for.

        Parameters
        ----------
        given, usual : mapping
            Parameters by name, as they are and by default; others than the fields may be there.
        **resolved
            Fields that are something else than what was given.

        Raises
        ------
        ValueError
            If a number is beyond the precision of training, or the solver cannot do with it.
        """
        names = {each.name for each in fields(cls)}
        taken = {name: value for name, value in given.items() if name in names}
        one = cls(**(taken | {"given": given, "usual": usual} | resolved))
        one._check()
        return one

    def _check(self) -> None:
        validation.check_solver(self.solver)
        numbers = self._numbers()
        validation.check_half(self.dtype, self.solver)
        validation.check_precision(self.dtype, **numbers)
        validation.check_learning_rate(self.learning_rate, self.solver, self.dtype)

    def _numbers(self) -> dict[str, float]:
        """Return the numbers that the precision of training must have room for."""
        return {} if self.alpha is None else {"alpha": float(self.alpha)}


@dataclass(frozen=True)
class FinetuningSpecification(TrainingSpecification):
    """How the layers of a stack are trained for a task."""

    freeze: int | None
    decay: str
    noise: str | None
    noise_level: float
    dropout: float


@dataclass(frozen=True)
class Specification(TrainingSpecification):
    """An autoencoder that is asked for.

    Attributes
    ----------
    rho : float
        As a share of units.
    budgets : tuple of int
        Numbers of active units that the loss reads; empty where the code does not say how many
        are active.
    prefixes : tuple of int
        Numbers of first units that the loss reads; empty where it does not go by them.
    beta : float, "auto" or None
        None where the code, and with the cross entropy the rows, say what it is.
    activation, output_activation : str
        Of the code and of the output.
    hidden_layer_sizes : tuple of int
    """

    n_components: int
    loss: str
    sparsity: str | None
    rho: float
    budgets: tuple[int, ...]
    prefixes: tuple[int, ...]
    beta: float | str | None
    activation: str
    output_activation: str
    hidden_layer_sizes: tuple[int, ...]
    hidden_activation: str
    tied_weights: bool
    noise: str | None
    noise_level: float
    scale_data: bool
    sparse_output: bool
    transform_n_active: int | None
    transform_algorithm: str

    @property
    def is_scaled(self) -> bool:
        """Whether rows have the norm that makes codes sparse."""
        return has_scaled_norm(self.row_range, self.scale_data)

    @property
    def is_loss_scaled(self) -> bool:
        """Whether the loss has the size that makes codes sparse, or is known beside that size."""
        return self.is_scaled or self.loss == "cross_entropy"

    @property
    def row_range(self) -> str:
        """The activation whose range scaled rows keep to."""
        return row_range(self.output_activation, self.loss)

    @property
    def selection(self) -> Selection | None:
        """What the code keeps of its units; None is all."""
        if self.sparsity is None or not self.budgets:
            return None
        return Selection(self.sparsity, self.budgets, prefixes=self.prefixes)

    @property
    def pursuit(self) -> Pursuit | None:
        """What takes the place of activations when the network is read; None is nothing."""
        return resolve_pursuit(
            self.transform_algorithm,
            self.transform_n_active,
            n_selected=self.budgets[-1] if self.budgets else None,
            sparsity=self.sparsity,
            activation=self.activation,
            output_activation=self.output_activation,
            n_hidden_layers=len(self.hidden_layer_sizes),
        )

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Units of the encoder's layers, the code's last."""
        return (*self.hidden_layer_sizes, self.n_components)

    def _check(self) -> None:
        super()._check()
        validation.check_exact(
            self.sparsity, self.solver, self.output_activation, self.hidden_layer_sizes
        )
        validation.check_noise(self.noise, self.noise_level)
        validation.check_scaling(self.row_range, self.scale_data)
        if not chooses_few(self.pursuit):
            validation.check_sparse_output(self.sparse_output, self.sparsity, self.activation)
        if self.transform_n_active is not None:
            validation.check_n_active(self.transform_n_active, self.n_components)

    def _numbers(self) -> dict[str, float]:
        numbers = {"rho": self.rho} | super()._numbers()
        if self.beta is not None and not isinstance(self.beta, str):
            numbers["beta"] = self.beta
        if self.noise is not None:
            numbers["noise_level"] = float(self.noise_level)
        return numbers


def specify(given: Mapping[str, Any], usual: Mapping[str, Any]) -> Specification:
    """Return the autoencoder that parameters ask for.

    Parameters
    ----------
    given, usual : mapping
        The parameters of a `SparseAutoencoderTransformer` by name, as they are and by default.

    Raises
    ------
    ValueError
        If parameters make no sense together, or beside the precision of training.
    """
    sparsity, loss, beta = given["sparsity"], given["loss"], given["beta"]
    output_activation = validation.resolve_output_activation(given["output_activation"], loss)
    is_scaled = has_scaled_norm(row_range(output_activation, loss), given["scale_data"])
    is_loss_scaled = is_scaled or loss == "cross_entropy"
    hidden_layer_sizes = validation.resolve_hidden_layer_sizes(given["hidden_layer_sizes"])
    n_components = given["n_components"]
    # One that has no effect has none on where training begins either.
    has_effect = not CODES[sparsity].counts_units or CODES[sparsity].uses_rho(given["beta"])
    rho = validation.resolve_rho(given["rho"] if has_effect else usual["rho"], n_components)
    return Specification.of(
        given,
        usual,
        hidden_layer_sizes=hidden_layer_sizes,
        output_activation=output_activation,
        activation=validation.resolve_activation(given["activation"], sparsity),
        rho=rho,
        budgets=resolve_budgets(
            given["budgets"],
            given["prefixes"],
            sparsity,
            rho,
            n_components,
            len(hidden_layer_sizes),
        ),
        prefixes=resolve_prefixes(
            given["prefixes"], sparsity, n_components, len(hidden_layer_sizes)
        ),
        # By default it goes by the rows.
        beta=None if beta is None else defaults.resolve_beta(beta, sparsity, is_loss_scaled),
    )
