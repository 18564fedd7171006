"""Environments of other packages and servers, each behind an optional dependency."""
