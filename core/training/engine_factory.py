"""The only place that chooses between torch and NumPy."""

from core.training.engines import Engine, Setup


def open_engine(setup: Setup) -> Engine:
    """Return the engine that the config names. Only here is it decided whether torch is loaded."""
    if setup.config.engine == "numpy":
        from core.training.numpy_engine.engine import NumpyEngine  # noqa: PLC0415 - only one engine is loaded

        return NumpyEngine(setup)
    from core.training.torch_engine import TorchEngine  # noqa: PLC0415 - torch need not be installed

    return TorchEngine(setup)
