"""Names in the folder of a job on a board, where keeper and doors meet; by itself, so that a door loads no more than it must."""

SPOOL, OPENING, BELL, ALIVE, ERRORS, WORK, MODEL = "spool", "opening", "bell", "alive", "errors", "work", "model"
"""Names in a job's folder. ``alive`` is locked as long as the keeper lives; ``model`` holds the model's files."""
