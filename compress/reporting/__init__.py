"""The report's page: plots and template."""
