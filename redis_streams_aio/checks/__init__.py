"""Checks of what users write: values, names, times, functions. Everything here is pure, and nothing is below it but
the errors.
"""

from .values import LONGEST, has_methods, instance, seconds, shown, text, whole

__all__ = ["LONGEST", "has_methods", "instance", "seconds", "shown", "text", "whole"]
