"""What SparseAutoencoderClassifier and SparseAutoencoderRegressor share."""

from abc import abstractmethod
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext, CallbackSupportMixin
from sklearn.utils.validation import check_consistent_length

from sksae.base import constraints
from sksae.base.attributes import (
    check_goes_on,
    curve_attributes,
    supervised_attributes,
    supervised_record_of,
)
from sksae.base.available import check_holds_out_none
from sksae.base.checkpoint import checkpointed
from sksae.base.documentation import DocumentedMixin
from sksae.base.holding_out import hold_out
from sksae.base.inputs import checked_rows, checked_weight, errors_about, unseen_on_failure
from sksae.base.parameters import training_specification_of
from sksae.base.persistence import PersistentMixin
from sksae.base.protocols import Autoencoder
from sksae.base.reading import network_as_read
from sksae.base.stages import Stages, short_named, tell
from sksae.base.targets import check_counted
from sksae.base.together import check_same_form
from sksae.model.loss_parts import TARGET
from sksae.model.network import FittedNetwork, Layer
from sksae.model.numbers import Matrix, affine, extend, to_floats
from sksae.process.interrupts import ending_when_interrupted
from sksae.process.processes import processes_in_use
from sksae.process.shortage import AT_WORK, IN_TRAINING, explained_shortage
from sksae.process.warning import speaking_for, warn_user
from sksae.stacking.composition import ComposedOfAutoencoders
from sksae.stacking.encoding import encode_through
from sksae.stacking.members import (
    check_fit_together,
    check_names,
    check_unchanged,
    count_encoder_layers,
    count_trained,
    networks_taken,
)
from sksae.stacking.pieces import Change, members_of_piece
from sksae.stacking.pretraining import draw_seeds, pretrained
from sksae.stacking.rolling import with_layers
from sksae.stacking.task_callbacks import TaskCallbacks
from sksae.training.moments import well_scaled
from sksae.training.plan import check_device
from sksae.training.specification import FinetuningSpecification, TrainingSpecification
from sksae.training.supervised import SupervisedTraining, check_freeze
from sksae.training.supervised_values import SupervisedResult, SupervisedTarget
from sksae.training.validation import check_noise, check_precision, warn_of_idle_noise

# The default of noise_level.
NOISE_LEVEL = 0.3


class SupervisedStack(
    DocumentedMixin,
    PersistentMixin,
    CallbackSupportMixin,
    ComposedOfAutoencoders,
    BaseEstimator,
):
    """A stack of autoencoders with a layer on top, trained for a task."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = dict(constraints.SUPERVISED)

    # What the layer on top is called in lines that are printed and in callbacks.
    _name_of_top: ClassVar[str]

    @abstractmethod
    def _read_targets(
        self,
        y: ArrayLike,
        weight: np.ndarray | None,
        *,
        resume: bool,
        in_pieces: bool,
        classes: ArrayLike | None,
    ) -> SupervisedTarget:
        """Return what is to be learnt of rows with these targets, all that there are or a piece.

        Parameters
        ----------
        y : array-like
            Targets as the user gave them.
        weight : ndarray of shape (n_samples,) or None
            Of the rows.
        resume : bool
            Whether training goes on from what is fitted.
        in_pieces : bool
            Whether these are a piece of the rows only.
        classes : array-like or None
            All classes that a user says there are; of a classifier.
        """

    @abstractmethod
    def _resolve_alpha(
        self, codes: np.ndarray, target: SupervisedTarget, *, is_frozen: bool
    ) -> float:
        """Return the weight decay, on codes that stay as they are or are going to be trained.

        Parameters
        ----------
        codes : ndarray of shape (n_samples, n_components)
            Of all rows.
        target : SupervisedTarget
            What is to be learnt.
        is_frozen : bool
            Whether the codes stay as they are.
        """

    @abstractmethod
    def _top(self) -> Layer:
        """Return the fitted layer on top, as it was trained."""

    @abstractmethod
    def _top_again(self, described: dict[str, Any]) -> Layer:
        """Return it for the target of another piece, given what describes that."""

    @abstractmethod
    def _top_attributes(self, top: Layer, described: dict[str, Any]) -> dict[str, Any]:
        """Return the fitted attributes of a layer on top, given those of the target."""

    @np.errstate(all="ignore")
    @explained_shortage(IN_TRAINING)
    def _fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
    ) -> Self:
        """Pre-train members, then train for the target; set the fitted attributes at last.

        Parameters
        ----------
        X, y, sample_weight
            As in the ``fit`` of the classifier and the regressor.
        """
        named = self._checked_members()
        specification = training_specification_of(self, FinetuningSpecification)
        check_device(specification)
        with ending_when_interrupted(), speaking_for(self), unseen_on_failure(self):
            X = checked_rows(self, X, reset=True)
            check_target(self, X, y)
            # Pieces that follow compare theirs with these.
            weight = checked_weight(sample_weight, X, as_given=True)
            check_same_form(self, X, weight)
            target = self._read_targets(y, weight, resume=False, in_pieces=False, classes=None)
            check_fit_together(named, X.shape[1], pretrain=self.pretrain)
            check_names(self, named, pretrain=self.pretrain)
            n_layers = count_encoder_layers(named, pretrain=self.pretrain)
            n_frozen = self._check_finetuning(n_layers)
            metadata = None if weight is None else {"sample_weight": weight}
            task = {"X": X, "y": y, "metadata": metadata}
            targets = target.values, target.index, weight
            taken = networks_taken(named, pretrain=self.pretrain)
            with checkpointed(self, X, *targets, goes_on_from=taken) as draws:
                *seeds, seed = draw_seeds(draws, len(named) + 1)
                target, held_out = choose_rows(specification, target, seed)
                # Of members, of the layer on top, and of what is not frozen.
                n_pretrained = count_trained(named, pretrain=self.pretrain)
                n_trainings = n_pretrained + 1 + (n_frozen < n_layers)
                stages = Stages(n_trainings, self.verbose)
                context = short_named(self._init_callback_context(max_subtasks=n_trainings))
                tell(context.call_on_fit_task_begin, estimator=self, **task)
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
                training = self._training(
                    specification, members, target, seed, context, task, stages
                )
                alpha = self._resolve_alpha(codes, target, is_frozen=training.is_frozen)
                result = training.run(X, codes, alpha, held_out)
            attributes = self._attributes(members, target, result)
            processes_in_use().meet()
            for name, value in attributes.items():
                setattr(self, name, value)
        tell(
            context.call_on_fit_task_end,
            estimator=self,
            reconstruction_attributes=attributes,
            **task,
        )
        return self

    @np.errstate(all="ignore")
    @explained_shortage(IN_TRAINING)
    def _partial_fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        classes: ArrayLike | None,
    ) -> Self:
        """Go on with one more piece of rows; set the fitted attributes at last.

        Parameters
        ----------
        X, y, sample_weight, classes
            As in the ``partial_fit`` of the classifier.
        """
        check_holds_out_none(self)
        resume = hasattr(self, "autoencoders_")
        if resume:
            check_goes_on(self)
        named = self._checked_members()
        specification = training_specification_of(self, FinetuningSpecification)
        check_device(specification)
        with ending_when_interrupted(), speaking_for(self), unseen_on_failure(self):
            X = checked_rows(self, X, reset=not resume)
            check_target(self, X, y)
            weight = checked_weight(sample_weight, X, as_given=True)
            check_same_form(self, X, weight)
            target = self._read_targets(y, weight, resume=resume, in_pieces=True, classes=classes)
            before = None
            if resume:
                seeds, seed = draw_seeds(self._seed, len(named)), self._seed
                check_unchanged(named, self.autoencoders_)
                before = self.autoencoders_
            else:
                check_fit_together(named, X.shape[1], pretrain=self.pretrain)
                check_names(self, named, pretrain=self.pretrain)
                self._check_finetuning(count_encoder_layers(named, pretrain=self.pretrain))
                *seeds, seed = draw_seeds(self.random_state, len(named) + 1)
            target, _ = choose_rows(specification, target, seed)
            members, change = members_of_piece(
                named,
                before,
                X,
                weight,
                seeds,
                pretrain=self.pretrain,
                is_first_trained=self.freeze in (None, 0),
                caller=self,
                verbose=self.verbose,
            )
            # A pass is one epoch, whose line says it all.
            quiet = Stages(1, verbose=False)
            training = self._training(
                specification, members, target, seed, None, {"X": X, "y": y}, quiet
            )
            are_new = change is Change.TRAINED
            record = supervised_record_of(self) if resume else None
            alpha = self.alpha
            if alpha is None and record is not None and not are_new:
                # What it stood for when members were trained.
                alpha = record.alpha_of_none
            if alpha is None:
                codes = encode_through(members, X)
                alpha = self._resolve_alpha(codes, target, is_frozen=training.is_frozen)
            result = training.run_once(
                X,
                float(alpha),
                top=None if are_new else self._top_again(target.attributes),
                before=record,
                keeps_state=change is Change.NONE and self._is_described_by(target.attributes),
            )
            attributes = self._attributes(members, target, result)
            processes_in_use().meet()
            for name, value in attributes.items():
                setattr(self, name, value)
        return self

    def _training(
        self,
        specification: FinetuningSpecification,
        members: list[Autoencoder],
        target: SupervisedTarget,
        seed: int,
        context: CallbackContext | None,
        task: dict[str, Any],
        stages: Stages,
    ) -> SupervisedTraining:
        """Return the trainings that follow that of members.

        Parameters
        ----------
        specification : FinetuningSpecification
            How layers are to be trained.
        members : list of autoencoder
            Fitted.
        target : SupervisedTarget
            What is to be learnt.
        seed : int
            Of all that is drawn.
        context : CallbackContext or None
            Of the whole fit; None in ``partial_fit``.
        task : dict
            What callbacks may ask for: X, y and metadata of the fit.
        stages : Stages
            Which these trainings are the last of.
        """
        attributes = (
            partial(self._progress_attributes, members, target),
            partial(self._attributes, members, target),
        )
        return SupervisedTraining(
            specification,
            list(map(network_as_read, members)),
            target,
            seed,
            TaskCallbacks(self, self._name_of_top, context, task, stages, attributes),
            partial(encode_through, members),
        )

    def _progress_attributes(
        self, members: list[Autoencoder], target: SupervisedTarget, result: SupervisedResult
    ) -> dict[str, Any]:
        """Return the fitted attributes of an epoch.

        Parameters
        ----------
        members : list of autoencoder
            As they were pre-trained.
        target : SupervisedTarget
            What is learnt.
        result : SupervisedResult
            What training came to, or has come to so far.
        """
        record = result.record
        return {
            "autoencoders_": with_layers(members, result.encoder),
            **curve_attributes(record.losses, record.validation_curve, TARGET),
            "_seen": target.seen.as_dict(),
            **self._top_attributes(result.top, target.attributes),
        }

    def _attributes(
        self, members: list[Autoencoder], target: SupervisedTarget, result: SupervisedResult
    ) -> dict[str, Any]:
        """Return all fitted attributes.

        Parameters
        ----------
        members, target, result
            As in `_progress_attributes`.
        """
        return self._progress_attributes(members, target, result) | supervised_attributes(result)

    def _is_described_by(self, described: dict[str, Any]) -> bool:
        """Return whether the target is scaled as it was."""
        return all(np.array_equal(getattr(self, name), value) for name, value in described.items())

    def __sksae_network__(self) -> FittedNetwork:
        """Return the encoders as one network.

        The decoders are those of pre-training and do not know the fine-tuned codes.
        """
        return super().__sksae_network__().without_decoder()

    @np.errstate(all="ignore")
    @explained_shortage(AT_WORK)
    def _output(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the output of the layer on top, (n_samples, n_outputs), in X's precision."""
        codes = self._codes(X)
        top = self._top()
        coef = top.coef.astype(codes.dtype, copy=False)
        found = codes @ coef + top.intercept.astype(codes.dtype)
        if not np.isfinite(found).all():
            exact = to_floats(affine(extend(codes), top.coef, top.intercept))
            found = exact.astype(codes.dtype)
        if not np.isfinite(found).all():
            raise ValueError(
                "X holds rows so far from those of training that the output is beyond the range "
                f"of {found.dtype}."
            )
        return found

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


def check_target(estimator: BaseEstimator, X: Matrix, y: ArrayLike | None) -> None:
    """Raise if there is no target, or not one for each row.

    Parameters
    ----------
    estimator : estimator
        Whom an error names.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    y : array-like or None
        Targets.

    Raises
    ------
    ValueError
        If y is None, or not as long as X.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y "
            "is None."
        )
    with errors_about("y"):
        check_consistent_length(X, y)


def warn_of_idle_draws(noise: str | None, dropout: float) -> None:
    """Warn of noise and dropout where no layer of the encoder is trained."""
    for name, value, nothing in (("noise", noise, None), ("dropout", dropout, 0.0)):
        if value != nothing:
            warn_user(
                f"{name}={value!r} has no effect where freeze leaves no layer of the autoencoders "
                "to be trained."
            )


def choose_rows(
    specification: TrainingSpecification, target: SupervisedTarget, seed: int
) -> tuple[SupervisedTarget, np.ndarray | None]:
    """Return the target of the rows that are trained on, and which rows are held out (None: none).

    Parameters
    ----------
    specification : TrainingSpecification
        Says whether rows are held out.
    target : SupervisedTarget
        Of all rows that have one.
    seed : int
        Of the choice.

    Raises
    ------
    ValueError
        If no row counts, or too few for some to be held out.
    """
    index, held_out = target.index, None
    if target.weight is not None:
        check_counted(target.weight[index])
        index = index[target.weight[index] > 0.0]
    if specification.early_stopping:
        fraction = specification.validation_fraction
        index, held_out = hold_out(index, target.strata, fraction, seed)
    return replace(target, index=index, weight=well_scaled(target.weight)), held_out
