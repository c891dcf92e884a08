"""The configuration: YAML to frozen values, every error with its file and line."""
