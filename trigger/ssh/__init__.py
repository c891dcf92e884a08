"""SSH: the only files that touch asyncssh, and the system's own ssh."""
