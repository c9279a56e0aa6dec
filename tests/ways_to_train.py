"""Ways to train one autoencoder, for tests that must hold for each of them."""

COMMON = {
    "kl": {},
    "l1": {"sparsity": "l1"},
    "l2": {"sparsity": "l2"},
    "none": {"sparsity": None},
    "tanh": {"activation": "tanh"},
    "prelu": {"sparsity": "l1", "activation": "prelu"},
    "refit": {"sparsity": "l1", "transform_algorithm": "refit"},
    "omp": {"transform_algorithm": "omp", "transform_n_active": 2},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "lbfgs l1": {"solver": "lbfgs", "sparsity": "l1"},
    "auto kl": {"beta": "auto"},
    "auto l2": {"beta": "auto", "sparsity": "l2"},
    "auto lbfgs": {"beta": "auto", "solver": "lbfgs"},
    "tied": {"tied_weights": True},
    "sigmoid": {"output_activation": "sigmoid"},
    "unscaled": {"scale_data": False},
    "early stopping": {"early_stopping": True},
    "early stopping lbfgs": {"early_stopping": True, "solver": "lbfgs"},
}
