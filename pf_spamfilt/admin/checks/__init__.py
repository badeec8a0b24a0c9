"""What `pf-spamfilt-admin check` looks at, a module for each place where something can be wrong.

`findings.py` is what they all yield. `instance.py` reads Postfix's configuration, `steps.py` runs what has to be
tried as the filter's account; the others judge. Nothing here changes anything on this host.
"""
