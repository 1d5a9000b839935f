"""Stub."""
def strips(*a): return b""
def profiles(*a): return b""
def neighbours(*a): return b""
def controls(*a): return b'x'*2000
