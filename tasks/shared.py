"""The one registry that all functions of this deployment are in."""

from dispatcher import Registry

registry = Registry()
