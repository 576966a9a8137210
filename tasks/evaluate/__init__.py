"""How good a model is: on text that it never saw, on questions, and to the eye."""
