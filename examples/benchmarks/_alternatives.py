"""One autoencoder trained by sksae, by skorch, by a DataLoader loop and by MLPRegressor.

skorch and the loop minimise the same J as sksae, from the same kind of start, in the same batches
and with the same learning rates, as a good user would write it; alpha/2 ||W||^2 is left to Adam's
weight_decay there, which has the same gradient and is the quicker way. MLPRegressor has no sparsity
term. Nothing that takes long is imported before it is needed: of torch in _by_torch.py.
"""

from dataclasses import asdict, dataclass

from _harness import starting_weights, weights_of

OURS, SKORCH, LOOP, MLP = "sksae", "skorch", "DataLoader loop", "MLPRegressor"


@dataclass(frozen=True)
class Penalty:
    """What J adds to the error of the reconstruction."""

    rho: float
    beta: float
    alpha: float


@dataclass(frozen=True)
class Setting:
    """A network of sigmoid units with one hidden layer, and how it is trained by Adam."""

    n_components: int
    penalty: Penalty
    rate: float
    epochs: int
    output: str = "sigmoid"  # or "identity"
    batch: int = 256

    @property
    def of_objective(self) -> dict:
        """What the harness's objective takes."""
        return {**asdict(self.penalty), "output": self.output}

    def start(self, X, seed: int) -> tuple:
        """Return the weights to start from where they are given."""
        return starting_weights(X, self.n_components, self.penalty.rho, seed, self.output)

    def n_steps(self, X) -> int:
        return self.epochs * -(-len(X) // self.batch)


def fit_sksae(X, setting: Setting, seed: int) -> tuple:
    """Return W_in, b_in, W_out, b_out, as all of these functions that minimise J."""
    from sksae import SparseAutoencoderTransformer

    model = SparseAutoencoderTransformer(
        setting.n_components,
        **asdict(setting.penalty),
        sparsity="kl",
        output_activation=setting.output,
        scale_data=False,
        solver="adam",
        learning_rate=setting.rate,
        learning_rate_schedule="linear",
        batch_size=setting.batch,
        max_iter=setting.epochs,
        tol=0,
        n_iter_no_change=setting.epochs + 1,  # never stop early
        device="cpu",
        random_state=seed,
    ).fit(X)
    assert model.n_iter_ == setting.epochs
    return weights_of(model)


def fit_skorch(X, setting: Setting, seed: int) -> tuple:
    from _by_torch import fit_skorch

    return fit_skorch(X, setting, seed)


def fit_loop(X, setting: Setting, seed: int) -> tuple:
    from _by_torch import fit_loop

    return fit_loop(X, setting, seed)


def fit_mlp(X, setting: Setting, seed: int) -> None:
    from sklearn.neural_network import MLPRegressor

    MLPRegressor(
        hidden_layer_sizes=(setting.n_components,),
        activation="logistic",
        alpha=setting.penalty.alpha,
        batch_size=setting.batch,
        learning_rate_init=setting.rate,
        max_iter=setting.epochs,
        tol=0,
        n_iter_no_change=setting.epochs + 1,
        random_state=seed,
    ).fit(X, X)


FITS = {OURS: fit_sksae, SKORCH: fit_skorch, LOOP: fit_loop, MLP: fit_mlp}


def has_skorch() -> bool:
    try:
        import skorch  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True
