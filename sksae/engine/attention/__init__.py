"""Networks of sparse attention over the tokens of a row, by torch's modules and autograd."""
