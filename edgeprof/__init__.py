"""edgeprof: where edge models spend time, memory and energy, and what to do about it."""

import lazy_loader

from edgeprof._version import __version__ as __version__

# The public names and the modules they live in stand in __init__.pyi; each is imported when first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
