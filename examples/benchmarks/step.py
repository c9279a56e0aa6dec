"""A training step of Adam against the floor of its five matrix products.

A step is all that fit does for a minibatch: gather the rows, forward, backward, update. It is
timed through fit alone: the difference of a long and a short fit, over the difference of their
steps, leaves out what a fit costs once (validation, the loss of the final weights).
"""

import statistics

from _harness import (
    at_most,
    five_products,
    interleave,
    median_ratio,
    mnist_or_synthetic,
    option_parser,
    patches_or_synthetic,
    quiet,
    report,
    set_threads,
)

BATCH = 256
N_SAMPLES = 80 * BATCH  # whole batches only, as the floor has them
# (n_features, n_components): how many epochs the long fit has more, and the target. Small models
# take more epochs, so that each difference is of about a second.
CLAIMS = {
    (784, 196): (4, 1.20),
    (784, 1024): (2, 1.08),
    (64, 256): (20, 1.8),
    (64, 25): (40, 3.5),
}


def fit(X, n_components: int, epochs: int):
    """Fit for exactly this number of epochs."""
    from sksae import SparseAutoencoderTransformer

    model = SparseAutoencoderTransformer(
        n_components,
        sparsity="kl",
        output_activation="sigmoid",
        scale_data=False,
        solver="adam",
        batch_size=BATCH,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=epochs + 1,  # never stop early
        device="cpu",
        random_state=0,
    ).fit(X)
    assert model.n_iter_ == epochs
    return model


def measure(X, n_components: int, more_epochs: int, target: float, repeats: int) -> dict:
    """Return the row of one shape."""
    steps = more_epochs * N_SAMPLES // BATCH
    products = five_products(BATCH, X.shape[1], n_components)

    def floor(_):
        for _ in range(steps):
            products()

    seconds, _ = interleave(
        {
            "short": lambda _: fit(X, n_components, 1),
            "floor": floor,
            "long": lambda _: fit(X, n_components, 1 + more_epochs),
        },
        repeats,
    )
    ours = [long - short for long, short in zip(seconds["long"], seconds["short"], strict=True)]
    ratio = median_ratio(ours, seconds["floor"])
    return {
        "model": f"{X.shape[1]}->{n_components}",
        "ms a step": 1e3 * statistics.median(ours) / steps,
        "floor, ms": 1e3 * statistics.median(seconds["floor"]) / steps,
        "times the floor": ratio,
        **at_most(ratio, target),
    }


def main() -> None:
    options = option_parser(__doc__, repeats=9).parse_args()
    set_threads(options.threads)
    quiet()
    data = {
        784: mnist_or_synthetic(options.data, N_SAMPLES),
        64: patches_or_synthetic(options.data, N_SAMPLES),
    }
    rows = [
        measure(data[n_features], n_components, more_epochs, target, options.repeats)
        for (n_features, n_components), (more_epochs, target) in CLAIMS.items()
    ]
    notes = [f"kl, sigmoid code and output, float32, batch {BATCH}, {N_SAMPLES} rows."]
    report("An Adam step against its five matrix products", rows, notes, options.json)


if __name__ == "__main__":
    main()
