"""SparseAutoencoderClassifier: a stack of autoencoders with a softmax on top, fine-tuned."""

from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.callback import with_callbacks
from sklearn.utils import check_consistent_length, compute_class_weight
from sklearn.utils._param_validation import StrOptions

from sksae.base.available import available_if, goes_by_minibatches
from sksae.base.inputs import checked_weight, errors_about
from sksae.base.targets import check_counted, read_classes, read_labels
from sksae.base.together import fits_together
from sksae.model.network import Layer
from sksae.model.numbers import exponent_of, nearest_positive
from sksae.process.processes import processes_in_use
from sksae.stacking.composition import Autoencoders
from sksae.stacking.supervised import NOISE_LEVEL, SupervisedStack
from sksae.training.moments import count_rows, largest_weight, well_scaled
from sksae.training.seen import Seen, mean_weight
from sksae.training.supervised_values import SupervisedTarget
from sksae.transformer import SparseAutoencoderTransformer


def learns_in_pieces(estimator: "SparseAutoencoderClassifier") -> bool:
    """Return whether a classifier can be trained bit by bit, or raise for `available_if`."""
    if estimator.class_weight == "balanced":
        raise AttributeError(
            "with class_weight='balanced', which needs the frequencies of all rows: use a dict of "
            "weights, or sample_weight; or fit."
        )
    return goes_by_minibatches(estimator)


class SparseAutoencoderClassifier(ClassifierMixin, SupervisedStack):
    r"""Classify rows by a fine-tuned stack of autoencoders.

    Autoencoders are trained without labels, each on the codes of the one before. Then their
    encoders and a softmax on the last code are trained together, to minimise

    .. math::

        J = -\frac{1}{\sum_i w_i} \sum_i w_i \ln p(y_i | x_i)
            + \frac{\alpha}{2} \lVert W \rVert_F^2 ,
        \quad p(k | x) = \mathrm{softmax}(W a(x) + b)_k

    [1]_, where a(x) is the code and w the ``sample_weight``, times the weight of the class. Before
    this, the softmax is trained alone by L-BFGS on the pre-trained codes, because a random softmax
    would spoil the codes [2]_.

    Parameters
    ----------
    autoencoders : list of autoencoders, ints or pairs (str, one of these), or None, default=None
        The members, of type `SparseAutoencoderTransformer`, in order, with or without names. The
        default names are "sae0", "sae1", ... A number is an autoencoder with so many units and
        default parameters, and None is a single one with 100 units. `set_params` and searches reach
        all members, for example as ``sae0__rho``.
        They are cloned or copied, never changed. A member in a
        :class:`~sklearn.frozen.FrozenEstimator` keeps its fit. `transform` returns a CSR matrix if
        the last member has ``sparse_output=True``. If a member has ``transform_n_active``, its code
        has so many active units everywhere, and it is fine-tuned for this number. A
        ``transform_algorithm`` other than "encode" is a ValueError.

    pretrain : bool, default=True
        Whether to train the members, each on the codes of the one before. With False they must be
        fitted already, perhaps on other data.

    freeze : int >= 0 or None, default=None
        Number of leading layers of the encoder that keep their pre-trained weights; hidden layers
        of members count. If it is the number of all layers, only the layer on top is trained, on
        the codes, by L-BFGS for any ``solver``, in at most 200 iterations or ``max_iter`` if that
        is more. None is 0.

    unlabeled : -1, None, nan, any other finite number or str, or False, default=False
        Value in y that marks rows without a target; these are used in pre-training only. With False
        there are none. Nulls of polars are nan in columns of numbers and None in others. Nulls of
        pandas are nan (in columns of objects they stay as they are). A mark that does not occur
        warns in `fit`; a mark that is a number is an error if labels are strings.

    class_weight : dict, "balanced" or None, default=None
        Weight of each class in fine-tuning, a factor of the weights of its rows. "balanced" is
        inversely proportional to the total weight of the rows of a class.

    decay : {"top", "all"}, default="top"
        Which weights decay: those of the layer on top alone, as in UFLDL, or those of all layers.

    alpha : float >= 0, default=1e-4
        Weight decay. In pre-training members use their own. While the softmax is trained alone, it
        has at least 1e-4.

    noise : {"gaussian", "masking"} or None, default=None
        How rows are corrupted in fine-tuning, anew in each epoch [3]_. "gaussian" adds normal noise
        to every entry. "masking" sets entries to the mean of their feature, or to 0 if the first
        member has ``scale_data=False``. With frozen layers, the codes that enter the first trained
        layer are corrupted, and masked entries are 0. With "lbfgs" each row is corrupted once for
        all iterations. ``loss_`` and scores are those of clean rows.

    noise_level : float >= 0, default=0.3
        For "gaussian": the standard deviation of the noise, as a multiple of the standard deviation
        of all entries of the corrupted array (in `partial_fit`, of the rows with which the first
        member was scaled, or else of the first piece). For "masking": the share of entries, below
        1. Without effect (and a warning, if set) if ``noise`` is None.

    dropout : float in [0, 1), default=0.0
        Share of the units of each member's code that are left out in a step of fine-tuning, drawn
        anew for every minibatch. The others are divided by the share of units that stay [4]_. Not
        with "lbfgs".

    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Solver of the fine-tuning. This and all following parameters are those of the fine-tuning;
        see `SparseAutoencoderTransformer`.

    learning_rate : float > 0 or "auto", default="auto"
        The rate of "adam" and "sgd". "auto" is 3e-3; for "adam" it is 3e-3 min(1, sqrt(784 / n)),
        where n is the number of inputs of the first layer that is trained.

    learning_rate_schedule : {"linear", "constant"}, default="linear"
        "linear" falls from ``learning_rate`` to zero over ``max_iter`` epochs.

    momentum : float in [0, 1), default=0.9
        Momentum of "sgd".

    batch_size : int >= 1 or "auto", default="auto"
        Largest number of rows in a minibatch of "adam" and "sgd"; "auto" is 256.

    max_iter : int >= 1, default=50
        Epochs of fine-tuning; iterations for "lbfgs".

    tol : float >= 0, default=1e-3
        Training continues only if the loss falls by more than this share of it in
        ``n_iter_no_change`` epochs; with ``early_stopping``, if the held-out score rises by more
        than this.

    n_iter_no_change : int >= 1 or "auto", default="auto"
        See ``tol``. "auto" is 10 epochs, and at least 300 steps, for "adam" and "sgd"; 30
        iterations for "lbfgs", and 10 for the layer on top alone.

    early_stopping : bool, default=False
        Whether to hold out rows (the same share of each class), measure the accuracy on them after
        each epoch of fine-tuning, and return the weights with the largest. Pre-training sees no
        targets and uses all rows.

    validation_fraction : float in (0, 1), default=0.1
        Share of rows with a target held out with ``early_stopping``.

    shuffle : bool, default=True
        Whether each epoch visits the rows in a new order.

    dtype : {"float32", "float64", "bfloat16"}, default="float32"
        Precision of training; "bfloat16" concerns only the products of "adam" and "sgd" (see
        `SparseAutoencoderTransformer`).

    device : str, default="auto"
        Where to fine-tune: "auto", "cpu", "cuda", "cuda:1", "mps". Members have their own.

    data_parallel : bool, default=False
        Whether all processes of ``torch.distributed`` make one fit, each with rows of its own. Each
        calls `fit` or `partial_fit` with its rows, and all end with the same model, which is what
        one process would learn of all rows (docs/guide/distributed.md). ``batch_size`` is that of
        all processes together, and weights are relative to the mean over all. A ValueError if
        ``torch.distributed`` is not initialised, and a RuntimeError if another process fails. In a
        group of one process it has no effect.
        It holds for members too, whatever their own ``data_parallel`` says.

    verbose : bool or int, default=0
        1 prints the start and the end of each training (of the members, of the softmax and of the
        fine-tuning), and the progress of the fine-tuning as in `SparseAutoencoderTransformer`; 2
        prints every epoch of it. Lines begin with the name of the member, with "softmax" or
        "fine-tuning". Members have their own ``verbose`` for their epochs.

    random_state : int, RandomState instance or None, default=None
        Seed of fine-tuning, and of members without their own seed.

    Attributes
    ----------
    autoencoders_ : list of SparseAutoencoderTransformer
        The members with fine-tuned encoders. Their decoders, losses, curves and mean activations
        are those of pre-training (tied decoders are the transposed encoder).
    coef_ : ndarray of shape (n_classes, n_components)
        Weights of the layer on top.
    intercept_ : ndarray of shape (n_classes,)
        Its biases.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    alpha_ : float
        Weight decay: ``alpha``.
    loss_ : float
        J after training, over the rows with a target.
    loss_curve_ : list of float
        For each epoch of fine-tuning the mean of J over its minibatches.
    loss_parts_ : dict of {"target", "sparsity", "decay"} to list of float
        The terms of ``loss_curve_``: the mean loss of the targets, the sparsity term, which is 0 in
        fine-tuning, and the weight decay.
    validation_score_curve_ : list of float or None
        Accuracy on the held-out rows after each epoch; None without ``early_stopping``.
    largest_activation_ : ndarray of shape (n_components,), float64
        Largest activity of each unit of the fine-tuned code over the rows with a target, as in
        `SparseAutoencoderTransformer`.
    row_sparsity_ : float
        Mean sparsity of the codes of these rows, as in `SparseAutoencoderTransformer`.
    n_iter_, n_steps_ : int
        Epochs (iterations for "lbfgs") and steps of fine-tuning.
    n_features_in_ : int
        Number of features seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has names that are all strings.

    See Also
    --------
    SparseAutoencoderRegressor : The same for numbers.
    StackedSparseAutoencoder : The same for reconstruction: a transformer.
    sklearn.neural_network.MLPClassifier : Such a network with random initial weights.

    References
    ----------
    .. [1] UFLDL tutorial, "Softmax regression", "Stacked autoencoders" and "Fine-tuning stacked
           AEs".
    .. [2] A. Kumar, A. Raghunathan, R. Jones, T. Ma and P. Liang, "Fine-tuning can distort
           pretrained features and underperform out-of-distribution", ICLR 2022.
    .. [3] P. Vincent, H. Larochelle, I. Lajoie, Y. Bengio and P.-A. Manzagol, "Stacked denoising
           autoencoders", Journal of Machine Learning Research 11, 2010.
    .. [4] N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a
           simple way to prevent neural networks from overfitting", Journal of Machine Learning
           Research 15, 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sksae import SparseAutoencoderClassifier, SparseAutoencoderTransformer
    >>> X_train, X_test, y_train, y_test = train_test_split(
    ...     *load_digits(return_X_y=True), random_state=0
    ... )
    >>> autoencoders = [SparseAutoencoderTransformer(50, rho=0.1, max_iter=50)]
    >>> model = SparseAutoencoderClassifier(autoencoders, random_state=0).fit(X_train, y_train)
    >>> model.score(X_test, y_test) > 0.96
    True
    """

    _make_autoencoder = SparseAutoencoderTransformer
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SupervisedStack._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    _name_of_top: ClassVar[str] = "softmax"

    def __init__(
        self,
        autoencoders: Autoencoders = None,
        *,
        pretrain: bool = True,
        freeze: int | None = None,
        unlabeled: float | str | bool | None = False,
        class_weight: dict | Literal["balanced"] | None = None,
        decay: Literal["top", "all"] = "top",
        alpha: float = 1e-4,
        noise: Literal["gaussian", "masking"] | None = None,
        noise_level: float = NOISE_LEVEL,
        dropout: float = 0.0,
        solver: Literal["adam", "sgd", "lbfgs"] = "adam",
        learning_rate: Literal["auto"] | float = "auto",
        learning_rate_schedule: Literal["linear", "constant"] = "linear",
        momentum: float = 0.9,
        batch_size: Literal["auto"] | int = "auto",
        max_iter: int = 50,
        tol: float = 1e-3,
        n_iter_no_change: Literal["auto"] | int = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        shuffle: bool = True,
        dtype: Literal["float32", "float64", "bfloat16"] = "float32",
        device: str = "auto",
        data_parallel: bool = False,
        verbose: bool | int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.autoencoders = autoencoders
        self.pretrain = pretrain
        self.freeze = freeze
        self.unlabeled = unlabeled
        self.class_weight = class_weight
        self.decay = decay
        self.alpha = alpha
        self.noise = noise
        self.noise_level = noise_level
        self.dropout = dropout
        self.solver = solver
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.shuffle = shuffle
        self.dtype = dtype
        self.device = device
        self.data_parallel = data_parallel
        self.verbose = verbose
        self.random_state = random_state

    @fits_together
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the members one after another, then encoders and the layer on top together.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels; rows without a label have the mark (``unlabeled``).
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, in all trainings.

        Returns
        -------
        self : SparseAutoencoderClassifier
            Fitted.

        Raises
        ------
        TypeError
            If a member is not a `SparseAutoencoderTransformer`.
        NotFittedError
            With ``pretrain=False`` if a member is not fitted.
        ValueError
            If a parameter or the data is invalid; if no row has a target; if the shapes of fitted
            members do not fit together; if the loss becomes infinite or nan.
        """
        return self._fit(X, y, sample_weight)

    @available_if(learns_in_pieces)
    @fits_together
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on the rows given in one pass, in minibatches, at the constant learning rate.

        The first call trains the members first (if ``pretrain``) on its rows: give it many rows, or
        fit the members to more rows and use ``pretrain=False``. The layer on top starts at zeros.
        Both start again with a later piece in three cases: all earlier rows were equal; there were
        fewer than 100 of them and at most a tenth as many as in this piece; or, within the first
        10000 rows, they have quite another scale. If the first member's scaling is wrong by less
        (see `SparseAutoencoderTransformer.partial_fit`), and its first layer is not frozen, this
        layer is rescaled and codes stay the same. Each call needs at least one row with a target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Labels; rows without a label have the mark (``unlabeled``).
        classes : array-like of shape (n_classes,), default=None
            All labels of all pieces; needed in the first call unless its y has all of them.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, 1 by default. Weights are relative to those of all rows
            seen so far: a step on rows with a target that have r times the usual weight (times
            ``class_weight``) counts as r steps, with their weight decay; r is at most 10.

        Returns
        -------
        self : SparseAutoencoderClassifier
            Fitted.

        Raises
        ------
        ValueError
            As `fit`; if ``early_stopping`` is set.
        AttributeError
            If ``solver`` is "lbfgs" or ``class_weight`` is "balanced", which need all rows at once;
            then there is no such method.
        """
        return self._partial_fit(X, y, sample_weight, classes)

    def predict(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            If X is invalid; if rows are so far from those of training that outputs are beyond the
            range of its precision.
        """
        scores = self._output(X)
        return self.classes_[scores.argmax(axis=1)]

    @np.errstate(all="ignore")
    def predict_proba(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; rows add up to 1.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            If X is invalid; if rows are so far from those of training that outputs are beyond the
            range of its precision.
        """
        return softmax(self._output(X), axis=1)

    @np.errstate(all="ignore")
    def predict_log_proba(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            If X is invalid; if rows are so far from those of training that outputs are beyond the
            range of its precision.
        """
        return log_softmax(self._output(X), axis=1)

    @np.errstate(all="ignore")
    def decision_function(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the logits: the probabilities are their softmax.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,)
            In the order of ``classes_``. With two classes it is the logit of the second minus that
            of the first, the logarithm of their odds.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            If X is invalid; if rows are so far from those of training that outputs are beyond the
            range of its precision.
        """
        scores = self._output(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    @np.errstate(all="ignore")
    def score(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the share of rows whose class is predicted correctly.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row.

        Returns
        -------
        score : float
            The accuracy, between 0 and 1.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            As `predict`; if y or a weight is invalid.
        """
        weight = checked_weight(sample_weight, X)
        with errors_about("y"):
            check_consistent_length(X, y)
        return float(super().score(X, y, weight))

    def _read_targets(
        self,
        y: ArrayLike,
        weight: np.ndarray | None,
        *,
        resume: bool,
        in_pieces: bool,
        classes: ArrayLike | None,
    ) -> SupervisedTarget:
        given = None if classes is None else read_classes(classes, self.unlabeled)
        if given is not None and resume and not np.array_equal(given, self.classes_):
            raise ValueError(
                f"classes={given.tolist()} are others than in the first call, which were "
                f"{self.classes_.tolist()}."
            )
        labels = read_labels(
            y, self.unlabeled, self.classes_ if resume else given, in_pieces=in_pieces
        )
        if len(labels.classes) < 2:
            raise ValueError(
                f"y holds one class only, {labels.classes.tolist()[0]!r}: there must be at least 2 "
                "classes to tell apart."
            )
        of_rows, exponent = labels.classes[labels.codes[:, 0]], 0
        if self.class_weight is not None:
            weight = np.ones(len(of_rows)) if weight is None else weight
            # Products of extreme weights may be beyond all floats.
            exponent = exponent_of(largest_weight(weight))
            weight = np.ldexp(weight, -exponent)
            check_counted(weight[labels.index])
            counted = labels.index[weight[labels.index] > 0.0]
            is_dict = isinstance(self.class_weight, dict)
            # A dict may speak of classes that have no rows here.
            known, totals = labels.classes, None
            if not is_dict:
                codes = labels.codes[counted, 0]
                totals = np.bincount(codes, weight[counted], minlength=len(known))
                totals = processes_in_use().total(totals)
                known, totals = known[totals > 0.0], totals[totals > 0.0]
            factors = compute_class_weight(
                self.class_weight, classes=known, y=known, sample_weight=totals
            )
            factors = well_scaled(factors)
            weight[counted] *= factors[np.searchsorted(known, of_rows[counted])]
        counted = labels.index if weight is None else labels.index[weight[labels.index] > 0.0]
        mean = nearest_positive(np.ldexp(mean_weight(weight, counted), exponent))
        piece = Seen.of(count_rows(labels.codes, counted), mean, np.empty(0), np.empty(0))
        seen = Seen(**self._seen).followed_by(piece) if resume else piece
        return SupervisedTarget(
            values=labels.codes,
            loss="cross_entropy",
            index=labels.index,
            weight=weight,
            n_outputs=len(labels.classes),
            piece=piece,
            seen=seen,
            attributes={"classes_": labels.classes},
            strata=of_rows,
        )

    def _resolve_alpha(
        self, codes: np.ndarray, target: SupervisedTarget, *, is_frozen: bool
    ) -> float:
        return float(self.alpha)

    def _top_again(self, described: dict[str, Any]) -> Layer:
        return self._top()

    def _top(self) -> Layer:
        return Layer(self.coef_.T, self.intercept_.astype(np.float64), {}, "identity")

    def _top_attributes(self, top: Layer, described: dict[str, Any]) -> dict[str, Any]:
        intercept = top.intercept.astype(top.coef.dtype)
        return {"coef_": np.ascontiguousarray(top.coef.T), "intercept_": intercept, **described}
