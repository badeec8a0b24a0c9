"""What `pf-spamfilt-admin quarantine` is made of: kept messages are found, read, shown, handed on, removed."""
