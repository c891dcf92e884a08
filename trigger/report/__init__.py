"""After a run: its incident folder, and the report that is folded from its journal."""
