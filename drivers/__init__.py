"""One file per controller family; `trigger` finds them by name and never imports them itself."""
