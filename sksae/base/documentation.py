"""The link to its documentation in the HTML of an estimator, as soon as that has an address."""

from functools import cache
from importlib.metadata import PackageNotFoundError, metadata


@cache
def documentation_address() -> str | None:
    """Return where the documentation is, by the package's metadata; None if they do not say."""
    try:
        addresses = metadata("sksae").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    named = dict(entry.split(", ", 1) for entry in addresses)
    address = named.get("Documentation")
    return None if address is None else address.rstrip("/")


class DocumentedMixin:
    """An estimator whose HTML has a "?" that leads to its page in the documentation."""

    def _get_doc_link(self) -> str:
        """Return the address of the page, or an empty string, for which there is no "?"."""
        address, kind = documentation_address(), type(self)
        package, _, _ = kind.__module__.rpartition(".")
        # A class that somebody derived has no page there.
        if address is None or package.partition(".")[0] != "sksae":
            return ""
        return f"{address}/generated/{package}.{kind.__qualname__}.html"
