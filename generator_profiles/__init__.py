"""Pickup's own generator profiles: one module per data source."""
