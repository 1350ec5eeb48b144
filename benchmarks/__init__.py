"""Pickup beside its peers and beside the bare programs that are its limit, on the same work, in the same run."""
