"""The Workbench: one model, its candidates and all that is known of them, with one selection that all views share.

`Bench` is its state and its work in the background, without anything that draws; docs/workbench.md describes it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
