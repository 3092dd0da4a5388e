"""All that runs on a board: standard library only, Python 3.8 and newer, sent as one zipapp.

The runtime (and the numpy it brings) is imported by the runtime's own file, when a job asks for it.
"""
