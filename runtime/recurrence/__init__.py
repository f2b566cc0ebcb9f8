"""Recurrences that run: equations of a cell, walked along an axis."""
