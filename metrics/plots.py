"""Stub."""
def strips(*a): return b""
def profiles(*a): return b""
def neighbours(*a): return b""
