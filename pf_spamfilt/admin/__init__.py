"""pf-spamfilt-admin(8): what an administrator does with the filter all day. Never imported for a message.

`main.py` is the group of commands; each command has a module of its own, beside what it alone needs; `site.py` and
`output.py` are shared by all.
"""
