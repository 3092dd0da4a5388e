"""A board that is not there: known time and power of each layer, a slow and coarse power sensor, warming, throttling. Nothing is random
but by its seed.
"""
