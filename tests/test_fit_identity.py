"""A checkpoint is of one fit: another one is refused, and the same one known again."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from recorded_cases import PLAIN, TARGETS, classifier, sae, stack
from same_fits import assert_same
from sklearn.frozen import FrozenEstimator

from sksae import Checkpoint, SparseAutoencoderTransformer, StackedSparseAutoencoder
from sksae.base.fit_identity import checksum_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.checkpoint"


@pytest.mark.parametrize(
    ("params", "rows", "message"),
    [
        ({"n_components": 11}, PLAIN, "n_components is 11 here and 12 in the checkpoint"),
        ({"rho": 0.3, "beta": 2.0}, PLAIN, "beta is 2.0 here and None in .*; rho is 0.3 here"),
        ({"random_state": 1}, PLAIN, "random_state is 1 here and 0 in the checkpoint"),
        ({"solver": "sgd"}, PLAIN, "solver is 'sgd' here and 'adam'"),
        ({}, PLAIN[:, :9], "the number of features is 9 here and 16"),
        ({}, PLAIN[:100], "the number of rows is 100 here and 120"),
        ({}, PLAIN + 1.0, "the checksum of X, y and sample_weight"),
    ],
)
def test_the_checkpoint_of_another_fit_is_refused(params, rows, message, path):
    sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    before = path.read_bytes()
    model = sae(**params).set_callbacks(Checkpoint(path, resume=True))
    with pytest.raises(ValueError, match=message):
        model.fit(rows)
    assert not hasattr(model, "coefs_")
    assert path.read_bytes() == before


def test_the_checkpoint_of_another_estimator_is_refused(path):
    y = TARGETS["classes"]
    stack().set_callbacks(Checkpoint(path)).fit(PLAIN)
    with pytest.raises(ValueError, match="the estimator is SparseAutoencoderClassifier here and"):
        classifier().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN, y)
    classifier().set_callbacks(Checkpoint(path)).fit(PLAIN, y)
    with pytest.raises(ValueError, match="the checksum of X, y and sample_weight"):
        classifier().set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN, y[::-1])
    members = [sae(8), sae(5, sparsity="l1")]
    with pytest.raises(ValueError, match="sae1__sparsity is 'l1' here and 'kl' in"):
        classifier(members).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN, y)


def test_what_training_does_not_go_by_may_differ(path, capsys):
    expected = sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    other = sae(verbose=1, transform_algorithm="omp", transform_n_active=2)
    other.set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    np.testing.assert_array_equal(expected.coefs_[0], other.coefs_[0])


def test_a_warm_start_from_other_weights_is_another_fit(path):
    def made(rows):
        return sae(warm_start=True).fit(rows)

    made(PLAIN).set_callbacks(Checkpoint(path)).fit(PLAIN)
    again = pickle.loads(pickle.dumps(made(PLAIN)))
    again.set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    with pytest.raises(ValueError, match=r"what was learnt before \(warm_start, "):
        made(PLAIN + 1.0).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)


@pytest.mark.parametrize("pretrain", [True, False])
def test_members_that_learnt_something_else_are_another_fit(pretrain, path):
    def fitted_stack(rows):
        member = sae().fit(rows)
        members = [FrozenEstimator(member) if pretrain else member]
        made = StackedSparseAutoencoder(members, pretrain=pretrain, max_iter=3, random_state=0)
        return pickle.loads(pickle.dumps(made)).set_callbacks(Checkpoint(path, resume=True))

    fitted_stack(PLAIN).fit(PLAIN)
    fitted_stack(PLAIN).fit(PLAIN)
    with pytest.raises(ValueError, match="members that are not trained"):
        fitted_stack(PLAIN + 1.0).fit(PLAIN)


def test_a_member_that_is_read_otherwise_is_another_fit(path):
    def make(n_active):
        read = {"sparsity": "topk", "rho": 4, "transform_n_active": n_active}
        return stack([sae(**read), sae(4)]).set_callbacks(Checkpoint(path, resume=True))

    make(None).fit(PLAIN)
    with pytest.raises(ValueError, match="sae0__transform_n_active is 2 here and None in"):
        make(2).fit(PLAIN)


def test_sparse_rows_are_known_again(path):
    X = sp.csr_array(PLAIN * (PLAIN > 0.5))
    expected = sae().set_callbacks(Checkpoint(path)).fit(X)
    assert_same(expected, sae().set_callbacks(Checkpoint(path, resume=True)).fit(X.copy()))
    X.data[3] += 1.0
    with pytest.raises(ValueError, match="the checksum of X"):
        sae().set_callbacks(Checkpoint(path, resume=True)).fit(X)


@pytest.mark.parametrize(
    "other",
    [
        np.asfortranarray(PLAIN),
        np.repeat(PLAIN, 2, axis=1)[:, ::2],
        pd.DataFrame(PLAIN),
    ],
    ids=["columns first", "every second column", "DataFrame"],
)
def test_rows_are_known_again_however_they_lie_in_memory(other, path):
    expected = sae().set_callbacks(Checkpoint(path)).fit(PLAIN)
    found = sae().set_callbacks(Checkpoint(path, resume=True)).fit(other)
    np.testing.assert_array_equal(expected.coefs_[0], found.coefs_[0])


def test_a_checksum_tells_entries_apart():
    rows = np.arange(12.0).reshape(3, 4)
    same = [rows, np.asfortranarray(rows), sp.csr_array(rows).toarray()]
    assert len({checksum_of(each) for each in same}) == 1
    sparse = sp.csr_array(rows)
    long = sp.csr_matrix((sparse.data, sparse.indices.astype(np.int64), sparse.indptr))
    assert checksum_of(sparse) == checksum_of(long)
    others = [rows.T, rows.reshape(4, 3), rows[:2], rows.astype(np.float32), rows + 1, sparse, None]
    assert len({checksum_of(each) for each in [rows, *others]}) == 1 + len(others)
    assert checksum_of(rows, None) != checksum_of(None, rows)


class Named(SparseAutoencoderTransformer):
    """One of a user's own, with a parameter more."""

    def __init__(self, n_components=12, *, tag=None, max_iter=4, random_state=0):
        super().__init__(n_components, max_iter=max_iter, random_state=random_state)
        self.tag = tag


def test_parameters_of_a_class_of_the_users_own_are_told_apart(path):
    Named(tag={"a": 1, "b": [2]}).set_callbacks(Checkpoint(path)).fit(PLAIN)
    Named(tag={"b": [2], "a": 1}).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    with pytest.raises(ValueError, match=r"tag is \{'a': 1\} here and \{'a': 1, 'b': \[2\]\} in"):
        Named(tag={"a": 1}).set_callbacks(Checkpoint(path, resume=True)).fit(PLAIN)
    with pytest.raises(ValueError, match=r"must be something that pickle can write, .* got tag="):
        Named(tag=lambda: None).set_callbacks(Checkpoint(path)).fit(PLAIN)
