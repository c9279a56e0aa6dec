"""The "?" in the HTML of an estimator: a link where the package has an address, else none."""

import re
from email.message import Message
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr

import sksae
from sksae import (
    SparseAutoencoderClassifier,
    SparseAutoencoderRegressor,
    SparseAutoencoderTransformer,
    StackedSparseAutoencoder,
)
from sksae.base import documentation
from sksae.model_selection import BatchedGridSearchCV, BatchedRandomizedSearchCV

ESTIMATORS = [
    SparseAutoencoderTransformer(),
    SparseAutoencoderClassifier(),
    SparseAutoencoderRegressor(),
    StackedSparseAutoencoder(),
    BatchedGridSearchCV(SparseAutoencoderTransformer(), {}),
    BatchedRandomizedSearchCV(SparseAutoencoderTransformer(), {}),
]
REFERENCE = Path(sksae.__file__).parents[1] / "docs" / "api.md"


@pytest.fixture
def with_urls(monkeypatch):
    """Have the package's metadata name some addresses."""

    def name(*entries):
        fields = Message()
        for entry in entries:
            fields["Project-URL"] = entry
        monkeypatch.setattr(documentation, "metadata", lambda package: fields)
        documentation.documentation_address.cache_clear()

    yield name
    documentation.documentation_address.cache_clear()


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda it: type(it).__name__)
def test_it_leads_to_the_page_of_the_class(estimator, with_urls):
    with_urls("Source, https://source.test", "Documentation, https://docs.test/stable/")
    link = estimator._get_doc_link()
    assert f'href="{link}"' in estimator_html_repr(estimator)
    page = re.fullmatch(r"https://docs\.test/stable/generated/([\w.]+)\.html", link)[1]
    package, _, name = page.rpartition(".")
    if REFERENCE.is_file():
        # The pages of the site are called as the reference lists them.
        listed = REFERENCE.read_text(encoding="utf-8").partition(f"currentmodule:: {package}\n")[2]
        assert re.search(rf"^   {name}$", listed.partition("currentmodule")[0], re.M)


@pytest.mark.parametrize("entries", [(), ("Source, https://source.test",)])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda it: type(it).__name__)
def test_without_an_address_there_is_none(entries, estimator, with_urls):
    with_urls(*entries)
    assert estimator._get_doc_link() == ""


def test_a_class_of_somebody_else_has_none(with_urls):
    class Mine(SparseAutoencoderTransformer):
        pass

    with_urls("Documentation, https://docs.test")
    assert Mine()._get_doc_link() == ""


def test_in_a_pipeline_each_parameter_leads_to_its_place_on_the_page(with_urls):
    with_urls("Documentation, https://docs.test")
    html = estimator_html_repr(make_pipeline(SparseAutoencoderTransformer(), LogisticRegression()))
    page = "https://docs.test/generated/sksae.SparseAutoencoderTransformer.html"
    assert html.count(f'href="{page}"') == 1
    assert f'href="{page}#:~:text=rho,-float' in html
