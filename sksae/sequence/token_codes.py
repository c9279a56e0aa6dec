"""TokenCodes: one code for a row of many tokens."""

from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.callback import CallbackContext, with_callbacks
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sksae.base.available import available_if
from sksae.base.inputs import checked_weight, unseen_on_failure
from sksae.base.protocols import has_network
from sksae.base.together import check_same_form, fits_together_as
from sksae.metrics.activity import activity_of, mask_of, thresholds_in
from sksae.model.numbers import Matrix
from sksae.model.slices import chunk_slices
from sksae.process.processes import processes_in_use
from sksae.process.warning import fitting_member
from sksae.sequence.inputs import checked_sequences
from sksae.sequence.over_tokens import OverTokens
from sksae.sequence.pooling import POOLINGS, checked_pooling
from sksae.sequence.tokens import (
    FeatureMeans,
    as_tokens,
    check_segments,
    length_of,
    lengths_of,
    tokens_of,
)
from sksae.stacking.members import unfrozen
from sksae.stacking.pretraining import draw_seeds
from sksae.training.moments import well_scaled
from sksae.transformer import SparseAutoencoderTransformer


def _can_go_by_pieces(estimator: "TokenCodes") -> bool:
    """Return whether the autoencoder can be trained piece by piece, or raise."""
    if estimator.autoencoder is None or hasattr(estimator.autoencoder, "partial_fit"):
        return True
    raise AttributeError(
        f"as its {type(estimator.autoencoder).__name__} has none: fit, or use an autoencoder with "
        "solver='adam' or 'sgd'."
    )


def _of_tokens(weight: np.ndarray | None, length: int) -> np.ndarray | None:
    """Return weights of rows as those of their tokens, 1 on average over all; None if all are."""
    if weight is None:
        return None
    scaled, total = well_scaled(weight), processes_in_use().total
    return np.repeat(scaled / (total(scaled.sum()) / total(len(scaled))), length)


class TokenCodes(OverTokens):
    """Codes of rows that are sequences: of each token by an autoencoder, then pooled by row.

    A row is a sequence of tokens of one width, one after another: windows of a signal, sentences
    of a document, patches of a picture. One sparse autoencoder is trained on the tokens of all
    rows. `transform` encodes the tokens of a row and tells, for each unit, how strong it was at
    most, on average, and in what share of tokens it was active.

    Shorter rows end in tokens of NaN, which are left out wherever they stand; `pad_tokens` makes
    such rows. A single NaN in a token is a missing value: the mean of that feature stands for it.

    Parameters
    ----------
    autoencoder : SparseAutoencoderTransformer or StackedSparseAutoencoder, default=None
        Trained on tokens, as a clone; its parameters are ``autoencoder__rho`` and so on. In a
        :class:`~sklearn.frozen.FrozenEstimator` it is taken as it was fitted. Each `fit` begins
        anew, whatever its ``warm_start``. With its ``data_parallel`` several processes fit both
        together, each with rows of its own. None is a `SparseAutoencoderTransformer` with its
        defaults.
    token_width : int, default=None
        Features of a token, which divide those of a row; at least 1. None: each row is one token.
    pooling : sequence of {"max", "mean", "active_share"}, default=("max", "mean", "active_share")
        What is told of each unit over the tokens of a row: its largest activation, its mean
        activation, and the share of tokens in which it is active as
        :func:`~sksae.metrics.is_active` says; in that order. At least one, each once.
    n_segments : int, default=1
        Into so many parts of nearly equal length a row is cut by the positions of its tokens, and
        each is pooled by itself; at least 1, at most the tokens of a row. More than one tells what
        happened early and late, with so many times as many features.
    random_state : int, RandomState instance or None, default=None
        Seeds an autoencoder that has no ``random_state`` of its own.

    Attributes
    ----------
    autoencoder_ : estimator
        Fitted to tokens.
    length_ : int
        Tokens of a row at most.
    token_mean_ : ndarray of shape (token_width,)
        Weighted mean of each feature over the tokens that have it.
    n_features_in_ : int
        Features of a row: ``length_`` times the width of a token.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had any that are strings.

    See Also
    --------
    pad_tokens : Makes rows of one length from tokens and what they belong to.

    Notes
    -----
    Pooling by maximum and mean is that of bags of visual words: Coates, Lee & Ng (2011), "An
    analysis of single-layer networks in unsupervised feature learning", section 3.2 (sums);
    Boureau, Ponce & LeCun (2010), "A theoretical analysis of feature pooling in visual
    recognition" (maxima of sparse codes). It forgets the order of tokens; ``n_segments`` keeps some
    of it, as the quadrants of pictures do in the first of these papers.

    Examples
    --------
    Pictures of 8 x 8 points as eight tokens, their lines:

    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.sequence import TokenCodes
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(16, sparsity="topk", rho=3, max_iter=5, tol=1.0)
    >>> lines = TokenCodes(sae, token_width=8, random_state=0).fit(X)
    >>> lines.transform(X).shape
    (1797, 48)
    >>> print(lines.get_feature_names_out()[[0, 16, 32]])
    ['sparseautoencodertransformer0_max' 'sparseautoencodertransformer0_mean'
     'sparseautoencodertransformer0_active_share']
    >>> lines.tokens(X).shape
    (1797, 8, 16)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "autoencoder": [None, BaseEstimator],
        "token_width": [Interval(Integral, 1, None, closed="left"), None],
        "pooling": ["array-like", str],
        "n_segments": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        autoencoder: BaseEstimator | None = None,
        *,
        token_width: int | None = None,
        pooling: Sequence[str] = POOLINGS,
        n_segments: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.autoencoder = autoencoder
        self.token_width = token_width
        self.pooling = pooling
        self.n_segments = n_segments
        self.random_state = random_state

    @fits_together_as(lambda self: self.autoencoder)
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the autoencoder on the tokens of all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
            Rows. Tokens of NaN alone are left out; in a sparse matrix there are none.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, which each of its tokens has.

        Returns
        -------
        self : TokenCodes
            Fitted.

        Raises
        ------
        TypeError
            If ``autoencoder`` is none.
        ValueError
            If ``token_width`` does not divide the number of features; if there are more segments
            than tokens in a row; if no row has a token; if another parameter or the data is
            invalid.
        """
        autoencoder = self._new_autoencoder()
        return self._fit(autoencoder, X, sample_weight, in_pieces=False)

    @available_if(_can_go_by_pieces)
    @fits_together_as(lambda self: getattr(self, "autoencoder_", self.autoencoder))
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Go on with the tokens of one more piece of rows.

        Parameters of the autoencoder are those at the first piece.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
            Rows.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, which each of its tokens has.

        Returns
        -------
        self : TokenCodes
            Fitted.

        Raises
        ------
        TypeError, ValueError
            As from `fit`.
        AttributeError
            If the autoencoder has no ``partial_fit``.
        """
        is_first = not hasattr(self, "autoencoder_")
        autoencoder = self._new_autoencoder() if is_first else self.autoencoder_
        return self._fit(autoencoder, X, sample_weight, in_pieces=True)

    def _fit(
        self, autoencoder: Any, X: Any, sample_weight: ArrayLike | None, *, in_pieces: bool
    ) -> Self:
        """Train the autoencoder on the tokens of some rows; set fitted attributes at last.

        Parameters
        ----------
        autoencoder : estimator
            Fitted in place.
        X, sample_weight
            As in `fit`.
        in_pieces : bool
            Whether the rows are a piece of all.
        """
        checked_pooling(self.pooling)
        context = None if in_pieces else self._init_callback_context(max_subtasks=1)
        resets = not in_pieces or not hasattr(self, "autoencoder_")
        with unseen_on_failure(self):
            X = checked_sequences(self, X, reset=resets)
            weight = checked_weight(sample_weight, X, as_given=True)
            check_same_form(self, X, weight)
            length = length_of(X.shape[1], self.token_width)
            if not resets and length != self.length_:
                raise ValueError(
                    f"token_width={self.token_width} is another one than that of earlier pieces, "
                    f"{X.shape[1] // self.length_}: set it back, or fit anew."
                )
            check_segments(self.n_segments, length)
            means = self._means_before(X.shape[1] // length, in_pieces=in_pieces)
            means = means.after(as_tokens(X, length), _of_tokens(weight, length))
            tokens = tokens_of(X, length, means.mean)
            if not processes_in_use().any(tokens.values.shape[0] > 0):
                raise ValueError("X has no token: all of its entries are NaN.")
            weights = {}
            if weight is not None:
                weights["sample_weight"] = np.repeat(weight, lengths_of(tokens.is_there)[:, 0])
            with fitting_member(autoencoder, self, "autoencoder", on_codes=False):
                if isinstance(autoencoder, FrozenEstimator):
                    check_is_fitted(autoencoder)
                elif context is None:
                    autoencoder.partial_fit(tokens.values, **weights)
                else:
                    self._fit_in(context, autoencoder, X, tokens.values, weights)
            processes_in_use().meet()
        self.autoencoder_, self.length_ = autoencoder, length
        self.token_mean_, self._n_seen = means.mean, means.n_seen
        return self

    def _means_before(self, width: int, *, in_pieces: bool) -> FeatureMeans:
        """Return the means of features over the pieces before; of none if there are none."""
        if in_pieces and hasattr(self, "token_mean_"):
            return FeatureMeans(self._n_seen, self.token_mean_)
        return FeatureMeans.of_nothing(width)

    def _fit_in(
        self,
        context: CallbackContext,
        autoencoder: Any,
        X: Matrix,
        tokens: Matrix,
        weights: dict[str, np.ndarray],
    ) -> None:
        """Fit an autoencoder, so that callbacks of the whole hear of it.

        Parameters
        ----------
        context : CallbackContext
            Of the whole fit.
        autoencoder : estimator
            Fitted in place.
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        tokens : ndarray or CSR matrix of shape (n_tokens, token_width)
            Theirs.
        weights : dict
            Of tokens, if they have any.
        """
        context.call_on_fit_task_begin(estimator=self, X=X)
        inner = context.subcontext(task_name="autoencoder")
        with inner.propagate_callback_context(autoencoder):
            inner.call_on_fit_task_begin(estimator=self, X=X)
            autoencoder.fit(tokens, **weights)
            inner.call_on_fit_task_end(estimator=self, X=X)
        context.call_on_fit_task_end(estimator=self, X=X)

    def _new_autoencoder(self) -> Any:
        """Return a clone of the autoencoder, seeded."""
        given = SparseAutoencoderTransformer() if self.autoencoder is None else self.autoencoder
        inner, is_frozen = unfrozen(given)
        if not has_network(inner) or not hasattr(inner, "inverse_transform"):
            raise TypeError(
                "autoencoder must be a SparseAutoencoderTransformer or a StackedSparseAutoencoder, "
                f"got {given!r}."
            )
        autoencoder = clone(given)
        if not is_frozen and autoencoder.random_state is None:
            (autoencoder.random_state,) = draw_seeds(self.random_state, 1)
        return autoencoder

    def _unit_names(self) -> Sequence[str]:
        names: Sequence[str] = self.autoencoder_.get_feature_names_out()
        return names

    def _mask_finder(self) -> Callable[[Matrix], Matrix]:
        autoencoder, _ = unfrozen(self.autoencoder_)
        thresholds: np.ndarray | None = None

        def mask(codes: Matrix) -> Matrix:
            nonlocal thresholds
            if not codes.shape[0]:
                return codes
            activities = activity_of(autoencoder, codes)
            if thresholds is None:
                thresholds = thresholds_in(autoencoder, [activities])
            return mask_of(activities, thresholds)

        return mask

    def _decode(self, codes: np.ndarray) -> np.ndarray:
        with config_context(transform_output="default"):
            values: np.ndarray = self.autoencoder_.inverse_transform(codes)
        return values

    def _codes_of_tokens(self, X: Matrix) -> Iterator[tuple[Matrix, np.ndarray]]:
        n_components = self.autoencoder_.__sksae_network__().n_components
        widest = self.length_ * max(n_components, X.shape[1] // self.length_)
        for which in chunk_slices(X.shape[0], widest):
            tokens = tokens_of(X[which], self.length_, self.token_mean_)
            yield self._encode(tokens.values), tokens.is_there

    def _encode(self, values: Matrix) -> Matrix:
        """Return the codes of tokens, (n_tokens, token_width), as an array or a csr_array."""
        n_tokens = values.shape[0]
        if not n_tokens:
            # In the container that others have.
            values = self.token_mean_[None].astype(values.dtype)
        with config_context(transform_output="default"):
            codes = self.autoencoder_.transform(values)[:n_tokens]
        return sp.csr_array(codes) if sp.issparse(codes) else codes

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoder_")
