"""The sub-commands of ``lenet``, one file for each resource.

What is slow to import (HTTP, tables) is imported where a command runs, so that ``lenet --help`` answers at once.
"""
