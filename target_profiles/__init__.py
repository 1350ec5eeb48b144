"""Pickup's own target profiles: one module per kind of place."""
