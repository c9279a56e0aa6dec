"""Whatever is given, there is a finite result of the right form, or an error that names a cause."""

import os
import warnings
from collections import Counter

import numpy as np
from fuzzing import Case, cases
from fuzzing_checks import check_fitted, check_work, content, refusable_fit, unchanged, watchdog
from hypothesis import HealthCheck, given, settings

# More of them by choice: SKSAE_FUZZ=5000, and each time others.
IS_CHOSEN = "SKSAE_FUZZ" in os.environ
N_EXAMPLES = int(os.environ.get("SKSAE_FUZZ", "200"))


def check(case: Case) -> str:
    """Try a case; return how its fit ended: "fitted" or "refused"."""
    X, later = case.rows.make(), case.later.make()
    (n_rows, n_features), (n_later, _) = case.rows.shape, case.later.shape
    y, weight = case.target_of(n_rows), case.weight_of(n_rows)
    y_later, weight_later = case.target_of(n_later), case.weight_of(n_later)
    given = {"X": X, "y": y, "sample_weight": weight, "X of later": later}
    before = {name: content(value) for name, value in given.items()}
    refused = []
    with (
        watchdog(),
        warnings.catch_warnings(),
        np.errstate(**({"all": "raise"} if case.is_strict else {})),
    ):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        model = case.build()
        with refusable_fit(model, refused):
            model.fit(X, y, sample_weight=weight)
        is_fitted = not refused
        if is_fitted:
            check_fitted(model, n_features)
            with unchanged(model):
                check_work(model, X, y, weight, n_rows, refused)
                check_work(model, later, y_later, weight_later, n_later, refused)
        if hasattr(model, "partial_fit"):
            n_refused = len(refused)
            with refusable_fit(model, refused):
                model.partial_fit(later, y_later, sample_weight=weight_later)
            if len(refused) == n_refused:
                check_fitted(model, n_features)
                check_work(model, later, y_later, weight_later, n_later, refused)
    for name, value in given.items():
        assert content(value) == before[name], f"{name} was changed in place"
    return "fitted" if is_fitted else "refused"


def test_a_finite_result_or_an_error_that_names_its_cause():
    ends = Counter()

    @settings(
        max_examples=N_EXAMPLES,
        derandomize=not IS_CHOSEN,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(cases())
    def try_out(case):
        ends[check(case)] += 1

    try_out()
    # Else hardly anything but refusals was tested.
    assert ends["fitted"] > ends["refused"], ends
