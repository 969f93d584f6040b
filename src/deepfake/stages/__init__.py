"""The only modules with side effects. Each has `run(cfg)`: tables in, one table out."""
