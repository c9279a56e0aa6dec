"""Sessions that run a check in an environment of its own: `nox -l` lists them."""

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True


def install(session, extras):
    """Install sksae with extras, in the versions that are known to work together."""
    session.install("-c", "constraints.txt", f".[{extras}]")


@nox.session
def lint(session):
    """Look for faults, and at the format."""
    session.install("-c", "constraints.txt", "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session):
    """Check the types."""
    install(session, "dev")
    session.run("mypy")


@nox.session
def tests(session):
    """Run the fast tests, or what is given behind `--`."""
    install(session, "test")
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "2"]))


@nox.session
def slow(session):
    """Run the slow tests, those of the documentation among them."""
    install(session, "test,search")
    session.run("python", "-m", "pytest", "-m", "slow", *(session.posargs or ["-n", "2"]))


@nox.session(python="3.11")
def lowest(session):
    """Run the fast tests, or what is given behind `--`, with the lowest versions."""
    session.install("-c", "constraints-lowest.txt", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "2"]))
