"""Sends requests at given moments and counts what becomes of them."""
