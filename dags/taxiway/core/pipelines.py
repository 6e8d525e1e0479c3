"""The pipelines that are installed: packages beside this one with settings, tables, checks and metrics of their own.

Pipelines are discovered by their packages; there is no list to maintain.
"""

import importlib
import pkgutil
from types import ModuleType

import taxiway
from taxiway.core.settings import Settings, TypedSettings

MAIN = "hvfhv"  # the default of commands that take a pipeline
SHARED = ("aws", "catalogue", "core", "lake", "operations")


def names() -> list[str]:
    """Return the names of all pipelines, in alphabetical order."""
    return sorted(
        found.name for found in pkgutil.iter_modules(taxiway.__path__) if found.ispkg and found.name not in SHARED
    )


def modules(name: str) -> dict[str, ModuleType]:
    """Return the module of a name, such as ``metrics``, of each pipeline that has one, by the pipeline's name."""
    found = {}
    for pipeline in names():
        package = importlib.import_module(f"taxiway.{pipeline}")
        if any(module.name == name for module in pkgutil.iter_modules(package.__path__)):
            found[pipeline] = importlib.import_module(f"taxiway.{pipeline}.{name}")
    return found


def settings_classes() -> list[type[TypedSettings]]:
    """Return the class of the shared settings and those of the pipelines."""
    classes: list[type[TypedSettings]] = [Settings]
    for module in modules("settings").values():
        classes += [
            found
            for found in vars(module).values()
            if isinstance(found, type) and issubclass(found, TypedSettings) and found.__module__ == module.__name__
        ]
    return classes


def check_settings() -> None:
    """Read the shared settings and those of every pipeline.

    Raises:
        SettingsError: a value cannot be used.
    """
    for each in settings_classes():
        each.read()
