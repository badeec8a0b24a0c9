"""What `pf-spamfilt-admin report` is made of: log lines are read, counted, and told in each form.

Nothing here changes anything but the files that it is told to write.
"""
