"""Integrations: modules that connect a broker with other tools. Nothing of the library imports them.

Each module is one integration, and imports its optional packages itself: import the one that you use.
"""
