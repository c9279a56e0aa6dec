"""The trainings of a fit for a task: of the layer on top, then of all layers that are not frozen.

The layer on top is trained first, on codes that stay as they are, by L-BFGS until its loss has
settled: fine-tuning that started from a random one would spoil the codes before it has learnt
anything (UFLDL, "Stacked Autoencoders"; Kumar et al., ICLR 2022).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from sksae.model.codes import activity, largest_so_far, row_sparsity
from sksae.model.loss_parts import LossParts
from sksae.model.network import FittedNetwork, Layer
from sksae.model.numbers import Matrix, kept_dtype
from sksae.model.scaling import Scaling, scaled_deviation
from sksae.model.settings import Dropout, Penalties, TrainingConfig
from sksae.model.slices import chunk_slices
from sksae.model.tasks import Monitor, TrainingResult
from sksae.model.unrolled import unroll
from sksae.process.processes import processes_in_use
from sksae.training.finetuning import (
    finetuning_noise,
    make_finetuning_config,
    plan_layers,
    scaling_of_codes,
    scaling_of_first,
    train_layers,
)
from sksae.training.moments import count_rows, weighted_moments
from sksae.training.plan import Plan
from sksae.training.specification import FinetuningSpecification
from sksae.training.supervised_values import SupervisedRecord, SupervisedResult, SupervisedTarget

# Of the layer on top alone.
TOP_ITERATIONS, TOP_TOL, TOP_PATIENCE = 200, 1e-4, 10
# If the layers below are trained afterwards, the layer on top decays by this at least: one that
# separates all rows leaves no error from which those below could learn.
LEAST_TOP_ALPHA = 1e-4


class Stage(Protocol):
    """Who follows one of the trainings."""

    @property
    def monitor(self) -> Monitor:
        """Who is told of every epoch."""

    def end(self, trained: TrainingResult, result: SupervisedResult) -> None:
        """Hear what the training came to; may raise where no further one is to follow."""


class OpenStage(Protocol):
    """What follows each training: it is asked for a stage once the training is planned."""

    def __call__(
        self,
        plan: Plan,
        result_of: Callable[[Sequence[Layer], list[LossParts], list[float]], SupervisedResult],
        *,
        is_top: bool,
        is_last: bool,
    ) -> AbstractContextManager[Stage]:
        """Return a context in which one training is followed.

        Parameters
        ----------
        plan : Plan
            What is trained.
        result_of : callable
            Given the layers, the losses and the validation curve as an epoch leaves them,
            returns the result so far.
        is_top : bool
            Whether the layer on top alone is trained.
        is_last : bool
            Whether no training follows. Of the epochs of others the user is not told.
        """


class SupervisedTraining:
    """The trainings of one fit.

    Parameters
    ----------
    specification : FinetuningSpecification
        How layers are to be trained.
    members : sequence of FittedNetwork
        Each for codes of the one before.
    target : SupervisedTarget
        What is to be learnt.
    seed : int
        Of all that is drawn.
    open_stage : OpenStage
        Called for each training, to follow it.
    encode : callable
        Given rows and a number n, returns what the first n layers of the members make of them.
    """

    def __init__(
        self,
        specification: FinetuningSpecification,
        members: Sequence[FittedNetwork],
        target: SupervisedTarget,
        seed: int,
        open_stage: OpenStage,
        encode: Callable[[Matrix, int], Matrix],
    ) -> None:
        self._specification, self._members, self._target = specification, members, target
        self._seed, self._open_stage, self._encode = seed, open_stage, encode
        self._encoder = unroll(members).without_decoder().layers
        self._n_frozen = check_freeze(specification.freeze, len(self._encoder))
        self._noise_unit = 0.0

    @property
    def is_frozen(self) -> bool:
        """Whether the layer on top alone is trained."""
        return self._n_frozen == len(self._encoder)

    def run(
        self, X: Matrix, codes: np.ndarray, alpha: float, held_out: np.ndarray | None
    ) -> SupervisedResult:
        """Train the layer on top, then all layers that are not frozen.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        codes : ndarray of shape (n_samples, n_components)
            What the members make of them.
        alpha : float
            Weight decay.
        held_out : ndarray of int or None
            Rows that say when to stop.
        """
        specification, config = self._specification, self._top_config(codes)
        top, scaling = self._empty_top(), self._scaling(codes)
        if self.is_frozen:
            assert not isinstance(specification.max_iter, str)
            config = replace(
                config,
                max_iter=max(config.max_iter, specification.max_iter),
                tol=min(config.tol, specification.tol),
            )
            plan = self._plan([top], scaling, config, alpha, held_out_index=held_out)
            return self._train(plan, codes, [top], is_top=True)
        plan = self._plan([top], scaling, config, max(alpha, LEAST_TOP_ALPHA))
        trained = self._train(plan, codes, [top], is_top=True, is_last=False)
        layers = [*self._encoder[self._n_frozen :], trained.top]
        rows, scaling = self._input(X)
        config = self._config(rows, scaling)
        plan = self._plan(layers, scaling, config, alpha, held_out_index=held_out)
        return self._train(plan, rows, layers)

    def run_once(
        self,
        X: Matrix,
        alpha: float,
        *,
        top: Layer | None,
        before: SupervisedRecord | None,
        keeps_state: bool,
    ) -> SupervisedResult:
        """Make one pass at the constant rate over one more piece of rows.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        alpha : float
            Weight decay.
        top : Layer or None
            The layer on top; None for one that was not trained before.
        before : SupervisedRecord or None
            Of the passes before, if there were any.
        keeps_state : bool
            Whether the solver goes on from where it stood.
        """
        state, n_before, pace = None, 0, 1.0
        if before is not None:
            n_before, pace = before.n_iter, self._target.seen.pace(self._target.piece)
            if before.n_frozen == self._n_frozen:
                self._noise_unit = before.noise_unit
                # The solver's memory is of the layers that it moved.
                state = before.state if keeps_state else None
        layers = [*self._encoder[self._n_frozen :], top or self._empty_top()]
        rows, scaling = self._input(X)
        config = self._config(rows, scaling, first_epoch=n_before, one_pass=True, pace=pace)
        # Members that were trained anew have other units.
        largest = before.largest_activation if before and top else None
        plan = self._plan(layers, scaling, config, alpha, state=state, largest_before=largest)
        return self._train(plan, rows, layers, before=before)

    def _train(
        self,
        plan: Plan,
        X: Matrix,
        layers: Sequence[Layer],
        *,
        before: SupervisedRecord | None = None,
        is_top: bool = False,
        is_last: bool = True,
    ) -> SupervisedResult:
        """Train the last layers of the network, as planned, on what enters them.

        Parameters
        ----------
        plan : Plan
            Of the training.
        X : ndarray or CSR matrix of shape (n_samples, n_in)
            What enters the layers.
        layers : sequence of Layer
            As they start, the layer on top last.
        before : SupervisedRecord, optional
            Of the passes before.
        is_top, is_last : bool
            As in `OpenStage`.
        """
        n_kept = len(self._encoder) - (len(layers) - 1)
        earlier = before or SupervisedRecord(self._seed, {}, n_kept, self._noise_unit)
        alpha = plan.penalties.alpha
        assert isinstance(alpha, float)
        is_given = self._specification.alpha is not None

        def result_of(
            layers: Sequence[Layer], losses: list[LossParts], validation_curve: list[float]
        ) -> SupervisedResult:
            record = SupervisedRecord(
                seed=self._seed,
                state={},
                n_frozen=n_kept,
                noise_unit=self._noise_unit,
                alpha_of_none=earlier.alpha_of_none if is_given else alpha,
                n_steps=earlier.n_steps,
                losses=[*earlier.losses, *losses],
                validation_curve=validation_curve or earlier.validation_curve,
            )
            return SupervisedResult([*self._encoder[:n_kept], *layers[:-1]], layers[-1], record)

        with self._open_stage(plan, result_of, is_top=is_top, is_last=is_last) as stage:
            weight = self._target.weight
            layers, trained = train_layers(plan, X, weight, stage.monitor, warn=is_last)
            result = result_of(layers, trained.losses, trained.validation_curve)
            largest, row_sparsity = trained.largest, trained.row_sparsity
            if len(layers) == 1:
                # The code is what enters the one layer that is trained.
                largest, row_sparsity = self._told_by(X)
                largest = largest_so_far(plan.largest_before, largest)
            record = replace(
                result.record,
                state=trained.state,
                n_steps=earlier.n_steps + trained.n_steps,
                largest_activation=largest,
            )
            result = result._replace(
                record=record,
                loss=trained.loss,
                alpha=alpha,
                row_sparsity=row_sparsity,
            )
            stage.end(trained, result)
        return result

    def _plan(
        self,
        layers: Sequence[Layer],
        scaling: Scaling,
        config: TrainingConfig,
        alpha: float,
        **rest: Any,
    ) -> Plan:
        """Return the plan to train the last layers for the target.

        Parameters
        ----------
        layers : sequence of Layer
            As they start, the layer on top last.
        scaling : Scaling
            Of what enters them.
        config : TrainingConfig
            Solver and steps.
        alpha : float
            Weight decay.
        **rest
            State and rows held out, as in `Plan`.
        """
        target = self._target
        decays = "last" if self._specification.decay == "top" else "all"
        return plan_layers(
            self._specification,
            layers,
            len(layers) - 1,
            scaling,
            config,
            Penalties(None, 0.5, 0.0, alpha, decays),
            index=target.index,
            loss=target.loss,
            target=target.values,
            read_as=self._members[-1].sparsity,
            **rest,
        )

    def _told_by(self, codes: np.ndarray) -> tuple[np.ndarray, float]:
        """Return what codes of the rows that count tell: the largest activities, and the sparsity.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_components)
            Of all rows.
        """
        index, weight, last = self._target.index, self._target.weight, self._members[-1]
        largest, sparsity = np.zeros(codes.shape[1]), np.empty(len(index))
        for which in chunk_slices(len(index), codes.shape[1]):
            part = np.abs(activity(codes[index[which]], last.sparsity, last.code_activation))
            largest = np.maximum(largest, part.max(axis=0))
            sparsity[which] = row_sparsity(part)
        counted = np.ones(len(index)) if weight is None else weight[index]
        processes = processes_in_use()
        total = processes.total((sparsity * counted).sum())
        return processes.largest(largest), float(total / processes.total(counted.sum()))

    def _config(self, X: Matrix, scaling: Scaling, **rest: Any) -> TrainingConfig:
        """Return the solver and the steps of all layers together, on what enters them."""
        specification = self._specification
        return make_finetuning_config(
            specification,
            self._seed,
            n_rows=count_rows(self._target.values, self._target.index),
            n_features=X.shape[1],
            noise=finetuning_noise(specification, self._unit_of_noise(X, scaling)),
            blanks_to_zero=not scaling.scaled,
            dropout=self._dropout(),
            **rest,
        )

    def _unit_of_noise(self, X: Matrix, scaling: Scaling) -> float:
        """Return the deviation of all entries of what enters the layers, as they see it.

        If the first member scales rows, it is known from that. Else it is the deviation of the
        first rows, and stays the unit for later pieces.
        """
        if self._specification.noise != "gaussian":
            return self._noise_unit
        if scaling.scaled:
            return scaled_deviation(X.shape[1], self._members[0].row_range)
        if self._noise_unit == 0.0:
            _, variance = weighted_moments(X, self._target.index, self._target.weight)
            self._noise_unit = float(np.sqrt(variance))
        return self._noise_unit

    def _dropout(self) -> Dropout | None:
        """Return the dropout of codes: of those of all members whose encoder is trained."""
        rate = self._specification.dropout
        if rate == 0.0:
            return None
        ends = np.cumsum([each.n_encoder_layers for each in self._members]) - self._n_frozen
        layers = tuple(int(end) - 1 for end in ends if end > 0)
        return Dropout(float(rate), layers) if layers else None

    def _top_config(self, codes: np.ndarray) -> TrainingConfig:
        """Return the solver and the steps of the layer on top alone."""
        specification = self._specification
        config = make_finetuning_config(
            specification,
            self._seed,
            n_rows=count_rows(self._target.values, self._target.index),
            n_features=codes.shape[1],
        )
        patience = specification.n_iter_no_change
        return replace(
            config,
            solver="lbfgs",
            max_iter=TOP_ITERATIONS,
            tol=TOP_TOL,
            n_iter_no_change=TOP_PATIENCE if isinstance(patience, str) else patience,
        )

    def _empty_top(self) -> Layer:
        """Return a linear layer of zeros: outputs all alike lead the layers below nowhere."""
        n_in, n_out = self._members[-1].n_components, self._target.n_outputs
        dtype = kept_dtype(self._specification.dtype)
        return Layer(np.zeros((n_in, n_out), dtype), np.zeros(n_out), {}, "identity")

    def _scaling(self, codes: np.ndarray) -> Scaling:
        return scaling_of_codes(codes, self._target.index, self._target.weight)

    def _input(self, X: Matrix) -> tuple[Matrix, Scaling]:
        """Return what enters the first layer that is trained, and its scaling."""
        if self._n_frozen > 0:
            codes = self._encode(X, self._n_frozen)
            return codes, self._scaling(codes)
        target = self._target
        return X, scaling_of_first(self._members[0], X, target.index, target.weight)


def check_freeze(freeze: int | None, n_layers: int) -> int:
    """Return how many leading layers of the encoder stay as they are."""
    if freeze is None:
        return 0
    if freeze > n_layers:
        raise ValueError(
            f"freeze={freeze} is the number of leading encoder layers that stay as they are, but "
            f"the autoencoders have {n_layers} only, counting hidden_layer_sizes."
        )
    return freeze
