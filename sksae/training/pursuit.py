"""Whether a dictionary can be read by pursuit: what `transform_algorithm` goes together with."""

from sksae.model.codes import CODES, RECTIFIED, listed
from sksae.model.pursuit import ALGORITHMS, Pursuit


def resolve_pursuit(
    algorithm: str,
    n_active: int | None,
    *,
    n_selected: int | None,
    sparsity: str | None,
    activation: str,
    output_activation: str,
    n_hidden_layers: int,
) -> Pursuit | None:
    """Return what takes the place of activations, or raise if it cannot.

    Parameters
    ----------
    algorithm : str
        The `transform_algorithm` as it was given.
    n_active : int or None
        The `transform_n_active` as it was given.
    n_selected : int or None
        How many units of a row are active, as far as the network tells; None or 0 where it does
        not, and of no effect where rho does not say it.
    sparsity : str or None
        Name of the code.
    activation : str
        Of its units.
    output_activation : str
        Of the reconstruction.
    n_hidden_layers : int
        Layers between input and code.

    Returns
    -------
    pursuit : Pursuit or None
        None is nothing.

    Raises
    ------
    ValueError
        If there is no such algorithm; if the decoder is not linear; if nothing says which atoms, or
        how many.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"transform_algorithm must be {listed(ALGORITHMS)}, got {algorithm!r}.")
    if algorithm == "encode":
        return None
    asked = f"transform_algorithm={algorithm!r}"
    if n_hidden_layers > 0:
        raise ValueError(
            f"{asked} needs a linear decoder, which a network with hidden_layer_sizes has not: use "
            "transform_algorithm='encode', or hidden_layer_sizes=()."
        )
    if output_activation != "identity":
        raise ValueError(
            f"{asked} needs a linear decoder, which output_activation={output_activation!r} is "
            "not: use transform_algorithm='encode', or output_activation='identity' and "
            "loss='squared_error'."
        )
    if algorithm == "refit":
        if activation not in RECTIFIED:
            raise ValueError(
                f"{asked} takes the atoms of the units that are not 0, which with "
                f"activation={activation!r} are all of them in every row: use "
                "transform_algorithm='omp', or activation='relu'."
            )
        return Pursuit(None)
    known = n_selected if CODES[sparsity].says_count else None
    n_atoms = known if n_active is None else n_active
    if not n_atoms:
        raise ValueError(
            f"{asked} needs a number of atoms, which sparsity={sparsity!r} does not say: set "
            "transform_n_active to it."
        )
    return Pursuit(int(n_atoms))
