"""--explain: scan for real, deliver nothing, and tell a person what would be done and why."""

