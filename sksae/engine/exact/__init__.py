"""Dictionaries, each of whose units adds its atom to the row that is made: by active entries.

Of wide codes few units are active. Only the encoder's product, and the choice of those, look at all
of them; decoder and gradients go through the entries that are kept, a hundredth of the work.
"""
