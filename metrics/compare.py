"""Stub."""
def compare(paths): raise NotImplementedError
