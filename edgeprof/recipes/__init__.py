"""Changes to a model, as data: a `Recipe` says what is to become of which layer; `apply` makes the changed model file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
