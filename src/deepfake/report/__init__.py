"""Figures and tables for people to look at: values in, pixels and text out."""
