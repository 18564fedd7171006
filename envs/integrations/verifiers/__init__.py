"""Environments of the verifiers package, run by an interpreter of their own."""
