"""Versions of workflows: what makes two deployments of one the same."""
