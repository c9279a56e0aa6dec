"""What SparseAutoencoderClassifier and SparseAutoencoderRegressor share."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import CallbackContext, CallbackSupportMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length

from sksae import constraints
from sksae.finetuning import (
    check_training,
    encode_through,
    epoch_monitor,
    finetune_schedule,
    finetuning_noise,
    plan_layers,
    scaling_of_codes,
    scaling_of_first,
    train_layers,
)
from sksae.joined import Layer, join, n_encoder_layers, separate
from sksae.members import (
    ComposedOfAutoencoders,
    check_fit_together,
    check_names,
    check_unchanged,
    count_encoder_layers,
    count_trained,
    draw_seeds,
    give_up_if_interrupted,
    pretrained,
)
from sksae.planning import Plan, Trainable
from sksae.rows import checked_rows, checked_weight, unseen_on_failure
from sksae.scaling import Matrix, Scaling
from sksae.stages import Stages, short_named, task_of
from sksae.targets import check_counted, hold_out
from sksae.transformer import SparseAutoencoderTransformer
from sksae.validation import check_noise, check_precision, warn_of_idle_noise
from sksae.warning import speaking_for, warn_user

if TYPE_CHECKING:
    from sksae.engine.jobs import Schedule
    from sksae.engine.losses import Loss
    from sksae.engine.noise import Dropout

# The layer on top is trained first, on codes that stay as they are, by L-BFGS until its loss has
# settled: fine-tuning that started from a random one would spoil the codes before it has learnt
# anything (UFLDL, "Stacked Autoencoders"; Kumar et al., ICLR 2022).
TOP_ITERATIONS, TOP_TOL, TOP_PATIENCE = 200, 1e-4, 10
# Where the layers below are trained afterwards it decays by this at least: one that separates the
# rows altogether has no error left from which they could learn.
LEAST_TOP_ALPHA = 1e-4
# The default of noise_level.
NOISE_LEVEL = 0.3

FINE_TUNING = "fine-tuning"


@dataclass(frozen=True)
class Wanted:
    """What is to be learnt, in the engine's words.

    Attributes
    ----------
    target : ndarray of shape (n_samples, n_targets)
        Of each row.
    loss : Loss
        Of the output.
    index : ndarray of int
        Rows to learn from.
    weight : ndarray of shape (n_samples,) or None
        What each counts.
    n_outputs : int
        Units of the layer on top.
    attributes : dict
        Fitted attributes that describe the target.
    strata : ndarray of shape (n_samples,) or None
        Classes that rows held out shall hold in proportion.
    """

    target: np.ndarray
    loss: "Loss"
    index: np.ndarray
    weight: np.ndarray | None
    n_outputs: int
    attributes: dict[str, Any]
    strata: np.ndarray | None = None


class SupervisedStack(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ComposedOfAutoencoders,
    BaseEstimator,
):
    """A stack of autoencoders with a layer on top, trained for a task."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = dict(constraints.SUPERVISED)

    # What the layer on top is called in lines that are printed and in callbacks.
    _name_of_top: ClassVar[str]

    def transform(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the fine-tuned codes of some rows: what the layer on top is given.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
            Of the last member, in the precision of X.
        """
        return self._codes(X)

    @abstractmethod
    def _read_targets(
        self,
        y: ArrayLike,
        weight: np.ndarray | None,
        *,
        resume: bool,
        in_pieces: bool,
        classes: ArrayLike | None,
    ) -> Wanted:
        """Return what is to be learnt of rows with these targets, all that there are or a piece."""

    @abstractmethod
    def _resolve_alpha(self, codes: np.ndarray, wanted: Wanted, *, is_frozen: bool) -> float:
        """Return the weight decay, on codes that stay as they are or are going to be trained."""

    @abstractmethod
    def _top(self) -> Layer:
        """Return the fitted layer on top, as it was trained."""

    @abstractmethod
    def _top_attributes(self, top: Layer, described: dict[str, Any]) -> dict[str, Any]:
        """Return the fitted attributes of a layer on top, given those of the target."""

    def _fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
    ) -> Self:
        named = self._checked_members()
        check_training(self)
        with speaking_for(self), unseen_on_failure(self):
            X = checked_rows(self, X, reset=True)
            check_target(self, X, y)
            weight = checked_weight(sample_weight, X)
            wanted = self._read_targets(y, weight, resume=False, in_pieces=False, classes=None)
            check_fit_together(named, X.shape[1], pretrain=self.pretrain)
            check_names(self, named, pretrain=self.pretrain)
            n_layers = count_encoder_layers(named, pretrain=self.pretrain)
            n_frozen = self._check_finetuning(n_layers)
            *seeds, seed = draw_seeds(self.random_state, len(named) + 1)
            wanted, held_out = choose_rows(self, wanted, seed)
            metadata = None if weight is None else {"sample_weight": weight}
            task = {"X": X, "y": y, "metadata": metadata}
            # Of members, of the layer on top, and of what is not frozen.
            n_trainings = count_trained(named, pretrain=self.pretrain) + 1 + (n_frozen < n_layers)
            stages = Stages(n_trainings, self.verbose)
            context = short_named(self._init_callback_context(max_subtasks=n_trainings))
            context.call_on_fit_task_begin(estimator=self, **task)
            members, codes = pretrained(
                named,
                X,
                weight,
                seeds,
                pretrain=self.pretrain,
                context=context,
                caller=self,
                stages=stages,
            )
            course = _Fit(self, members, wanted, held_out, seed, context, task, stages)
            attributes = course.run(X, codes)
        for name, value in attributes.items():
            setattr(self, name, value)
        context.call_on_fit_task_end(estimator=self, reconstruction_attributes=attributes, **task)
        return self

    def _partial_fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        classes: ArrayLike | None,
    ) -> Self:
        if self.early_stopping:
            raise ValueError(
                "partial_fit cannot hold out rows for early_stopping=True: use "
                "early_stopping=False, or fit."
            )
        resume = hasattr(self, "autoencoders_")
        named = self._checked_members()
        check_training(self)
        with speaking_for(self), unseen_on_failure(self):
            X = checked_rows(self, X, reset=not resume)
            check_target(self, X, y)
            weight = checked_weight(sample_weight, X)
            wanted = self._read_targets(y, weight, resume=resume, in_pieces=True, classes=classes)
            if resume:
                members, seed = self.autoencoders_, self._seed
                check_unchanged(named, members)
                wanted, _ = choose_rows(self, wanted, seed)
            else:
                check_fit_together(named, X.shape[1], pretrain=self.pretrain)
                check_names(self, named, pretrain=self.pretrain)
                self._check_finetuning(count_encoder_layers(named, pretrain=self.pretrain))
                *seeds, seed = draw_seeds(self.random_state, len(named) + 1)
                wanted, _ = choose_rows(self, wanted, seed)
                members, codes = pretrained(
                    named,
                    X,
                    weight,
                    seeds,
                    pretrain=self.pretrain,
                    context=None,
                    caller=self,
                    stages=Stages(count_trained(named, pretrain=self.pretrain), self.verbose),
                )
            # A pass is one epoch, whose line says it all.
            quiet = Stages(1, verbose=False)
            course = _Fit(self, members, wanted, None, seed, None, {"X": X, "y": y}, quiet)
            if not resume:
                alpha = course.resolve_alpha(codes)
            else:
                alpha = self.alpha_ if self.alpha is None else float(self.alpha)
            attributes = course.run_once(X, alpha, resume=resume)
        for name, value in attributes.items():
            setattr(self, name, value)
        return self

    def _codes(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        X = checked_rows(self, X)
        return encode_through(self.autoencoders_, X)

    def _output(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the output of the layer on top, (n_samples, n_outputs), in X's precision."""
        codes = self._codes(X)
        top = self._top()
        coef = top.coef.astype(codes.dtype, copy=False)
        return codes @ coef + top.intercept.astype(codes.dtype)

    def _check_finetuning(self, n_layers: int) -> int:
        """Return how many of the encoder's layers stay as they are, or raise before any training.

        Raises if the others cannot be trained as asked for.
        """
        n_frozen = check_freeze(self.freeze, n_layers)
        check_noise(self.noise, self.noise_level)
        check_precision(self.dtype, noise_level=float(self.noise_level))
        warn_of_idle_noise(self.noise, self.noise_level, NOISE_LEVEL)
        if n_frozen == n_layers:
            warn_of_idle_draws(self.noise, self.dropout)
        elif self.dropout > 0.0 and self.solver == "lbfgs":
            raise ValueError(
                f"dropout={self.dropout} leaves out other units in every minibatch, which "
                "solver='lbfgs' has not: use solver='adam' or 'sgd', or dropout=0."
            )
        return n_frozen

    @property
    def _n_features_out(self) -> int:
        return self.autoencoders_[-1]._n_features_out

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoders_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def check_target(estimator: BaseEstimator, X: Matrix, y: ArrayLike | None) -> None:
    """Raise if there is no target, or not one for each row."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y "
            "is None."
        )
    check_consistent_length(X, y)


class _Fit:
    """The trainings of one fit: of the layer on top, then of all layers that are not frozen."""

    def __init__(
        self,
        estimator: SupervisedStack,
        members: list[SparseAutoencoderTransformer],
        wanted: Wanted,
        held_out: np.ndarray | None,
        seed: int,
        context: CallbackContext | None,
        task: dict[str, Any],
        stages: Stages,
    ) -> None:
        self._estimator, self._members, self._wanted = estimator, members, wanted
        self._held_out, self._seed = held_out, seed
        self._context, self._task, self._stages = context, task, stages
        n_layers = sum(n_encoder_layers(member) for member in members)
        # Without their decoders there is nothing that layers could be tied to.
        self._encoder = [layer._replace(tied=False) for layer in join(members)[:n_layers]]
        self._n_frozen = check_freeze(estimator.freeze, n_layers)

    def run(self, X: Matrix, codes: np.ndarray) -> dict[str, Any]:
        """Return the fitted attributes after a whole fit.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        codes : ndarray of shape (n_samples, n_components)
            What the members make of them.
        """
        n_outputs, name = self._wanted.n_outputs, self._estimator._name_of_top
        self._alpha = self.resolve_alpha(codes)
        top = empty_top(codes.shape[1], n_outputs, self._estimator.dtype)
        scaling = self._scaling(codes)
        if self._n_frozen == len(self._encoder):
            schedule = self._top_schedule(codes)
            schedule = replace(
                schedule,
                max_iter=max(schedule.max_iter, self._estimator.max_iter),
                tol=min(schedule.tol, self._estimator.tol),
            )
            return self._train(name, [top], codes, scaling, schedule, held_out=self._held_out)[1]
        schedule = self._top_schedule(codes)
        alpha, self._alpha = self._alpha, max(self._alpha, LEAST_TOP_ALPHA)
        layers, _ = self._train(name, [top], codes, scaling, schedule, is_last=False)
        self._alpha = alpha
        layers = [*self._encoder[self._n_frozen :], *layers]
        rows = self._input(X)
        schedule = self._schedule(*rows)
        return self._train(FINE_TUNING, layers, *rows, schedule, held_out=self._held_out)[1]

    def resolve_alpha(self, codes: np.ndarray) -> float:
        """Return the weight decay, given what the members make of the rows."""
        is_frozen = self._n_frozen == len(self._encoder)
        return self._estimator._resolve_alpha(codes, self._wanted, is_frozen=is_frozen)

    def run_once(self, X: Matrix, alpha: float, *, resume: bool) -> dict[str, Any]:
        """Return the fitted attributes after one pass at the constant rate."""
        self._alpha = alpha
        estimator, n_outputs = self._estimator, self._wanted.n_outputs
        n_components = self._members[-1]._n_features_out
        top = estimator._top() if resume else empty_top(n_components, n_outputs, estimator.dtype)
        layers = [*self._encoder[self._n_frozen :], top]
        rows = self._input(X)
        n_before = estimator.n_iter_ if resume else 0
        schedule = self._schedule(*rows, first_epoch=n_before, one_pass=True)
        return self._train(FINE_TUNING, layers, *rows, schedule, resume=resume)[1]

    def _train(
        self,
        name: str,
        layers: list[Layer],
        X: Matrix,
        scaling: Scaling,
        schedule: "Schedule",
        *,
        held_out: np.ndarray | None = None,
        resume: bool = False,
        is_last: bool = True,
    ) -> tuple[list[Layer], dict[str, Any]]:
        """Return the last layers of the network after the training of that name, and what it makes.

        Nobody need hear of the end of one that is not the last, or of each of its epochs.
        """
        estimator, context = self._estimator, self._context
        before = {name: getattr(estimator, name) for name in CONTINUED} if resume else {}
        n_kept = len(self._encoder) - (len(layers) - 1)
        # The solver's memory is of the layers that it moved.
        goes_on = resume and estimator._n_frozen == n_kept
        if context is not None:
            task_name = "finetune" if name == FINE_TUNING else task_of(name)
            context = context.subcontext(task_name=task_name, max_subtasks=schedule.max_iter)
            context.call_on_fit_task_begin(estimator=estimator, **self._task)

        def attributes(
            layers: list[Layer], loss_curve: list[float], validation_curve: list[float]
        ) -> dict[str, Any]:
            encoder = [*self._encoder[:n_kept], *layers[:-1]]
            curve = [*before.get("loss_curve_", []), *loss_curve]
            return {
                "autoencoders_": separate(self._members, encoder),
                "loss_curve_": curve,
                "validation_score_curve_": validation_curve
                or before.get("validation_score_curve_"),
                "n_iter_": len(curve),
                **estimator._top_attributes(layers[-1], self._wanted.attributes),
            }

        state = estimator._state if goes_on else None
        plan = self._plan(layers, scaling, schedule, held_out_index=held_out, state=state)
        n_before = before.get("n_iter_", 0)
        monitor = epoch_monitor(
            estimator, plan, context, self._task, attributes, n_before, quiet=not is_last
        )
        with self._stages.begin(name) as end:
            layers, trained = train_layers(plan, X, self._wanted.weight, monitor, warn=is_last)
            if not is_last:
                give_up_if_interrupted(trained.stopped_by)
            end(trained.stopped_by, len(trained.loss_curve), trained.loss)
        found = attributes(layers, trained.loss_curve, trained.validation_curve) | {
            "alpha_": self._alpha,
            "loss_": trained.loss,
            "n_steps_": before.get("n_steps_", 0) + trained.n_steps,
            "_seed": self._seed,
            "_state": trained.state,
            "_n_frozen": n_kept,
        }
        if context is not None:
            context.call_on_fit_task_end(
                estimator=estimator, reconstruction_attributes=found, **self._task
            )
        return layers, found

    def _plan(
        self, layers: list[Layer], scaling: Scaling, schedule: "Schedule", **rest: Any
    ) -> Plan:
        from sksae.engine.objective import Penalties

        estimator, wanted = self._estimator, self._wanted
        decays = "last" if estimator.decay == "top" else "all"
        return plan_layers(
            estimator,
            layers,
            len(layers) - 1,
            scaling,
            schedule,
            Penalties(None, 0.5, 0.0, self._alpha, decays),
            index=wanted.index,
            loss=wanted.loss,
            target=wanted.target,
            **rest,
        )

    def _schedule(self, X: Matrix, scaling: Scaling, **rest: Any) -> "Schedule":
        """Return the solver and the steps of all layers together, on what enters them."""
        estimator, wanted = self._estimator, self._wanted
        return finetune_schedule(
            estimator,
            self._seed,
            n_rows=len(wanted.index),
            n_features=X.shape[1],
            noise=finetuning_noise(estimator, X, wanted.index, wanted.weight, scaling),
            blanks_to_zero=not scaling.scaled,
            dropout=self._dropout(),
            **rest,
        )

    def _dropout(self) -> "Dropout | None":
        """Return what leaves units of codes out: of all members' whose encoder is trained."""
        from sksae.engine.noise import Dropout

        if self._estimator.dropout == 0.0:
            return None
        ends = np.cumsum([n_encoder_layers(member) for member in self._members]) - self._n_frozen
        layers = tuple(int(end) - 1 for end in ends if end > 0)
        return Dropout(float(self._estimator.dropout), layers) if layers else None

    def _top_schedule(self, codes: np.ndarray) -> "Schedule":
        """Return the solver and the steps of the layer on top alone."""
        estimator = self._estimator
        schedule = finetune_schedule(
            estimator, self._seed, n_rows=len(self._wanted.index), n_features=codes.shape[1]
        )
        patience = estimator.n_iter_no_change
        return replace(
            schedule,
            solver="lbfgs",
            max_iter=TOP_ITERATIONS,
            tol=TOP_TOL,
            n_iter_no_change=TOP_PATIENCE if isinstance(patience, str) else patience,
        )

    def _scaling(self, codes: np.ndarray) -> Scaling:
        return scaling_of_codes(codes, self._wanted.index, self._wanted.weight)

    def _input(self, X: Matrix) -> tuple[Matrix, Scaling]:
        """Return what enters the first layer that is trained, and its scaling."""
        if self._n_frozen > 0:
            codes = encode_through(self._members, X, self._n_frozen)
            return codes, self._scaling(codes)
        return X, scaling_of_first(self._members[0], X, self._wanted.index, self._wanted.weight)


# What a fit that goes on adds to.
CONTINUED = ("loss_curve_", "validation_score_curve_", "n_iter_", "n_steps_")


def empty_top(n_components: int, n_outputs: int, dtype: str) -> Layer:
    """Return a linear layer of zeros: outputs that are all alike lead the layers below nowhere."""
    return Layer(np.zeros((n_components, n_outputs), dtype), np.zeros(n_outputs), None, "identity")


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


def warn_of_idle_draws(noise: str | None, dropout: float) -> None:
    """Warn of noise and dropout where no layer of the encoder is trained."""
    for name, value, nothing in (("noise", noise, None), ("dropout", dropout, 0.0)):
        if value != nothing:
            warn_user(
                f"{name}={value!r} has no effect where freeze leaves no layer of the autoencoders "
                "to be trained."
            )


def choose_rows(
    estimator: Trainable, wanted: Wanted, seed: int
) -> tuple[Wanted, np.ndarray | None]:
    """Return what is wanted of the rows that count, and which of them are held out (None: none)."""
    index, held_out = wanted.index, None
    if wanted.weight is not None:
        check_counted(wanted.weight[index])
        index = index[wanted.weight[index] > 0.0]
    if estimator.early_stopping:
        index, held_out = hold_out(index, wanted.strata, estimator.validation_fraction, seed)
    return replace(wanted, index=index), held_out
