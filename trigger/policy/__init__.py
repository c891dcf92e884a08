"""Policies: files that can only tighten what the guard allows."""
