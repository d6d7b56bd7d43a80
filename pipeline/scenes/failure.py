"""How a scene says that it has come to nothing."""


class SceneFailure(RuntimeError):
    """The scene cannot be shown or started: a result of the optimisation, to be recorded."""
