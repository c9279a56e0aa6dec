"""A copy of a model that holds what it answers by, and nothing that only training needs."""

import io
import pickle
from copy import deepcopy
from typing import Any, TypeVar

from sklearn.exceptions import NotFittedError

from sksae.base.attributes import OF_TRAINING
from sksae.base.protocols import is_trained_here

E = TypeVar("E")


def slim(estimator: E) -> E:
    """Return a copy without what only training needs, for a smaller file.

    A fitted autoencoder holds the state of its solver beside its weights: the moments of "adam",
    which are twice as large as the weights. `partial_fit` and ``warm_start`` go on from them; all
    else does without. What "lbfgs" has fitted, and a fine-tuned stack, have no such state: there
    the copy is as large. Of the copy they raise a ValueError that says so. Answers, scores and all
    public attributes are the same to the bit.

    Parameters
    ----------
    estimator : estimator
        A fitted autoencoder, stack, classifier or regressor, or whatever has some in it: a
        `Pipeline`, a search, a `FeatureUnion`. It is not changed.

    Returns
    -------
    copy : estimator
        Of the same class. As in every pickle of a fitted model, callbacks are left out, but for
        scikit-learn's own.

    Raises
    ------
    TypeError
        If there is no autoencoder in it, or something that cannot be pickled.
    NotFittedError
        If no autoencoder in it is fitted.

    Examples
    --------
    >>> import pickle
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.export import slim
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(64, max_iter=5, tol=1.0, random_state=0).fit(X)
    >>> model = slim(sae)
    >>> len(pickle.dumps(model)) < 0.4 * len(pickle.dumps(sae))
    True
    >>> bool((model.transform(X) == sae.transform(X)).all())
    True
    """
    written = io.BytesIO()
    pickler = _SlimPickler(written, protocol=pickle.HIGHEST_PROTOCOL)
    try:
        pickler.dump(estimator)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"slim copies by pickle, and this {type(estimator).__name__} cannot be pickled: {error}"
        ) from error
    if not pickler.n_slimmed and pickler.n_unfitted:
        raise NotFittedError(
            f"This {type(estimator).__name__} is not fitted yet, and slim copies fitted models: "
            "fit it first."
        )
    if not pickler.n_slimmed:
        raise TypeError(
            f"slim needs a fitted sparse autoencoder; this {type(estimator).__name__} is none, "
            "and has none in it."
        )
    return pickle.loads(written.getvalue())


class _SlimPickler(pickle.Pickler):
    """Pickles autoencoders, wherever they are, without what only training needs."""

    n_slimmed = n_unfitted = 0

    def reducer_override(self, obj: object) -> Any:
        """Return how an object is pickled, if it is not as always."""
        if not is_trained_here(obj):
            return NotImplemented
        if not hasattr(obj, "n_features_in_"):
            self.n_unfitted += 1
            return NotImplemented
        self.n_slimmed += 1
        other = type(obj).__new__(type(obj))
        of_training = {name: value for name, value in OF_TRAINING.items() if name in vars(obj)}
        other.__dict__.update(vars(obj) | deepcopy(of_training))
        # As an object of its class would be; its attributes are pickled by this pickler too.
        return type(obj).__reduce_ex__(other, pickle.HIGHEST_PROTOCOL)
