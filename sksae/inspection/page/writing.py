"""From contents to a page: one text that holds all it needs."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Any


def rendered(contents: dict[str, Any]) -> str:
    """Return the page.

    Every string of ``contents`` is escaped, unless it is markup of our own. The page may run its
    one script, which it knows by its hash, and load nothing.

    Parameters
    ----------
    contents : dict
        What the template asks for.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("sksae.inspection.page")
    texts = {
        name: (folder / f"page.{name}").read_text(encoding="utf-8")
        for name in ("html", "css", "js")
    }
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # A page with NaN in its data would show nothing.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "sort_keys": True}
    digest = sha256(texts["js"].encode("utf-8")).digest()
    return environment.from_string(texts["html"]).render(
        **contents,
        style=Markup(texts["css"]),
        script=Markup(texts["js"]),
        script_hash=b64encode(digest).decode("ascii"),
    )
