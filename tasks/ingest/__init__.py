"""Ingest: from sites, files and data sets to documents."""
