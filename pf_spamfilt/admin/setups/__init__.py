"""What `pf-spamfilt-admin setup` is made of: the plans for setting up and for removing, and the steps of both."""
