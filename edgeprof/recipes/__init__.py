"""Changes to a model, as data: a `Recipe` says what is to become of which layer; `apply` makes the changed model file."""
