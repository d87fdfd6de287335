import importlib.util

import pytest

from dispatcher.extras import install_command
from dispatcher.selection.encoders.available import OFFERS, make_encoder

#: A name for each kind, to be made once and used by all tests: loading takes seconds.
NAMES = [offer.name for offer in OFFERS]


@pytest.fixture(scope="session", params=NAMES)
def encoder(request):
    """Every encoder that is installed, one after the other."""
    offer = next(offer for offer in OFFERS if offer.name == request.param)
    absent = [module for module in offer.modules if importlib.util.find_spec(module) is None]
    if absent:
        pytest.skip(f"{offer.name} needs {', '.join(absent)}: {install_command(offer.extra)}")
    return make_encoder(request.param)
