"""The feature extractors of the study of defaults, each with the defaults of its library."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import NMF, PCA, FastICA, MiniBatchDictionaryLearning
from sklearn.kernel_approximation import Nystroem
from sklearn.neural_network import BernoulliRBM, MLPRegressor
from sklearn.preprocessing import FunctionTransformer

OURS = "sksae"
LINEAR = ("raw", "PCA")


class HiddenLayer(TransformerMixin, BaseEstimator):
    """The hidden layer of an MLPRegressor that learns to give X for X.

    Parameters
    ----------
    n_components : int
        Units of the hidden layer.
    activation : {"relu", "logistic"}
        Of the hidden layer.
    random_state : int, optional
    """

    def __init__(self, n_components: int, activation: str, random_state: int | None = None):
        self.n_components = n_components
        self.activation = activation
        self.random_state = random_state

    def fit(self, X, y=None) -> Self:
        self.model_ = MLPRegressor(
            hidden_layer_sizes=(self.n_components,),
            activation=self.activation,
            random_state=self.random_state,
        ).fit(X, X)
        return self

    def transform(self, X) -> np.ndarray:
        Z = X @ self.model_.coefs_[0] + self.model_.intercepts_[0]
        return np.maximum(Z, 0) if self.activation == "relu" else expit(Z)

    def inverse_transform(self, X) -> np.ndarray:
        return X @ self.model_.coefs_[1] + self.model_.intercepts_[1]


def sparse_autoencoder(n_components: int, seed: int, **parameters: Any):
    from sksae import SparseAutoencoderTransformer

    return SparseAutoencoderTransformer(n_components, device="cpu", random_state=seed, **parameters)


# From the size of the code, the number of features and a seed to an estimator. No linear code
# without a redundancy has more units than there are features.
PEERS: dict[str, Callable[[int, int, int], Any]] = {
    "raw": lambda k, d, seed: FunctionTransformer(),
    "PCA": lambda k, d, seed: PCA(min(k, d), random_state=seed),
    "NMF": lambda k, d, seed: NMF(k, random_state=seed),
    "MiniBatchDictionaryLearning": lambda k, d, seed: MiniBatchDictionaryLearning(
        k, random_state=seed
    ),
    "BernoulliRBM": lambda k, d, seed: BernoulliRBM(k, random_state=seed),
    "FastICA": lambda k, d, seed: FastICA(min(k, d), random_state=seed),
    "Nystroem": lambda k, d, seed: Nystroem(n_components=k, random_state=seed),
    "MLPRegressor, relu": lambda k, d, seed: HiddenLayer(k, "relu", seed),
    "MLPRegressor, logistic": lambda k, d, seed: HiddenLayer(k, "logistic", seed),
}
