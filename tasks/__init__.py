"""The work: one package a stage, plain functions that know no Prefect but ``@step``."""
