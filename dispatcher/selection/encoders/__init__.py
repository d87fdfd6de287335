"""Sentence encoders: texts to vectors whose cosines say how alike the texts are.

All are optional, stand behind one `Encoder` protocol, and run on the processor with weights from installed packages:
nothing is downloaded, and weights that are not the pinned ones are refused. Importing this package imports none of
the libraries they need.
"""

from dispatcher.selection.encoders.available import Offer, find_encoders, make_encoder, missing
from dispatcher.selection.encoders.cached import CachedEncoder
from dispatcher.selection.encoders.combined import CombinedEncoder
from dispatcher.selection.encoders.encoder import Encoder, Rows

__all__ = [
    "CachedEncoder",
    "CombinedEncoder",
    "Encoder",
    "Offer",
    "Rows",
    "find_encoders",
    "make_encoder",
    "missing",
]
